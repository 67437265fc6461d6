#!/usr/bin/env bash
# postgres.sh FOLDER USER DATABASE...: PostgreSQL with its data in FOLDER, as root, on Debian or Ubuntu. A second
# call, or a new machine with the old FOLDER, finds what is there. USER gets in by the local socket, by who it is:
# there is no password to keep, and no port is open beyond loopback.
set -euo pipefail
folder=$1 user=$2
shift 2
export DEBIAN_FRONTEND=noninteractive
if ! command -v pg_createcluster >/dev/null || ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
    mkdir -p /etc/postgresql-common/createcluster.d  # Debian would make one on the root disk
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/sweeps.conf
    apt-get -qq -o DPkg::Lock::Timeout=600 install -y postgresql >/dev/null
fi
version=$(basename "$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1 | xargs dirname)")
install -d -o postgres -g postgres -m 700 "$folder"
for old in "$folder"/*/; do
    if [ -d "$old" ] && [ "$(basename "$old")" != "$version" ]; then
        echo "error: $old holds databases of PostgreSQL $(basename "$old"), here is $version; install that one, or" \
            "restore the backup (docs/cluster.md)" >&2
        exit 1
    fi
done
if ! pg_lsclusters -h | grep -q "^$version *sweeps "; then
    # Makes the databases' folder, or takes over one that an earlier machine made.
    pg_createcluster "$version" sweeps -d "$folder/$version" >/dev/null
fi
pg_ctlcluster "$version" sweeps status >/dev/null || pg_ctlcluster "$version" sweeps start
port=$(pg_lsclusters -h | awk -v v="$version" '$1 == v && $2 == "sweeps" { print $3 }')
for attempt in $(seq 60); do
    runuser -u postgres -- pg_isready -q -p "$port" && break
    [ "$attempt" = 60 ] && { echo "error: PostgreSQL does not answer; see /var/log/postgresql" >&2; exit 1; }
    sleep 1
done
ask() { runuser -u postgres -- psql -p "$port" -qAtc "$1" postgres; }
[ "$(ask "select 1 from pg_roles where rolname = '$user'")" = 1 ] || runuser -u postgres -- createuser -p "$port" "$user"
for database in "$@"; do
    [ "$(ask "select 1 from pg_database where datname = '$database'")" = 1 ] ||
        runuser -u postgres -- createdb -p "$port" -O "$user" "$database"
done
echo "$port"
