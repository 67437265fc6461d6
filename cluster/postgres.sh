#!/usr/bin/env bash
# postgres.sh FOLDER USER DATABASE...: PostgreSQL with its data in FOLDER, as root, on Debian or Ubuntu. A second
# call, or a new machine with the old FOLDER, finds what is there. USER gets in by the local socket, by who it is:
# there is no password to keep, and no port is open beyond loopback.
set -euo pipefail
folder=$1 user=$2 name=${SWEEP_POSTGRES:-sweeps}
shift 2
export DEBIAN_FRONTEND=noninteractive
if ! command -v pg_createcluster >/dev/null || ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
    mkdir -p /etc/postgresql-common/createcluster.d  # Debian would make one on the root disk
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/sweeps.conf
    apt-get -qq -o DPkg::Lock::Timeout=600 install -y postgresql >/dev/null
fi
version=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1 | cut -d / -f 5)
install -d -o postgres -g postgres -m 700 "$folder"
if [ -e "$folder/data/PG_VERSION" ] && [ "$(cat "$folder/data/PG_VERSION")" != "$version" ]; then
    echo "error: $folder/data is of PostgreSQL $(cat "$folder/data/PG_VERSION"), here is $version; install that one," \
        "or restore a backup (docs/cluster.md)" >&2
    exit 1
fi
# Debian keeps the settings apart from the data, under /etc, where they would end with the machine: so that is a link.
link=/etc/postgresql/$version/$name
if [ ! -e "$folder/settings/postgresql.conf" ]; then
    if [ ! -e "$link/postgresql.conf" ]; then  # else an earlier run ended in between
        if [ -e "$folder/data" ]; then
            echo "error: $folder/data is there, $folder/settings is not; restore that, or put the data aside" >&2
            exit 1
        fi
        # By name: a shell without a locale would make one of SQL_ASCII, from which clients read bytes.
        pg_createcluster "$version" "$name" --encoding UTF8 --locale C.UTF-8 -d "$folder/data" >/dev/null
    fi
    rm -rf "$folder/settings.new"
    cp -a "$link" "$folder/settings.new"
    mv "$folder/settings.new" "$folder/settings"
    rm -r "$link"
fi
mkdir -p "$(dirname "$link")"
ln -sfn "$folder/settings" "$link"
[ "$(stat -c %U "$folder/data")" = postgres ] || chown -R postgres:postgres "$folder"  # a number of another image
port=$(pg_lsclusters -h | awk -v v="$version" -v n="$name" '$1 == v && $2 == n { print $3 }')
answers() { runuser -u postgres -- pg_isready -q -p "$port"; }
state=0
answers || state=$?
if [ "$state" -ge 2 ]; then  # 1: it is just starting
    # A lost machine leaves the number of its server's process, which may be anything's here: PostgreSQL would hold
    # back for it. A volume hangs on one machine, so a server of another boot does not live.
    boot=$(cat /proc/sys/kernel/random/boot_id)
    if [ "$(cat "$folder/boot" 2>/dev/null)" != "$boot" ]; then
        rm -f "$folder/data/postmaster.pid"
        echo "$boot" > "$folder/boot"
    fi
    pg_ctlcluster "$version" "$name" start >&2
fi
for attempt in $(seq 60); do
    answers && break
    [ "$attempt" = 60 ] && { echo "error: PostgreSQL does not answer; see /var/log/postgresql" >&2; exit 1; }
    sleep 1
done
ask() { runuser -u postgres -- psql -p "$port" -qAtc "$1" postgres; }
[ "$(ask "select 1 from pg_roles where rolname = '$user'")" = 1 ] ||
    runuser -u postgres -- createuser -p "$port" "$user"
for database in "$@"; do
    [ "$(ask "select 1 from pg_database where datname = '$database'")" = 1 ] ||
        runuser -u postgres -- createdb -p "$port" -O "$user" "$database"
done
echo "$port"
