#!/usr/bin/env bash
# restore.sh BACKUP: puts a backup (s3://.../backups/TIME, or a folder) back into the head's databases, in place of
# what they hold. Stop MLflow and every sweep first. A backup holds no password: MLflow's users come back with theirs,
# but for the administrator, whose password stays the one of this head's settings.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
settings=${SWEEP_SETTINGS:-/sweeps/settings/sweep.env}
# shellcheck source=/dev/null
. "$settings"
port=$SWEEP_POSTGRES_PORT
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $1 in
    s3://*) aws s3 cp --only-show-errors --recursive "$1" "$work" ;;
    *) cp -r "$1/." "$work" ;;
esac
if [ ! -e "$work/sha256" ]; then
    echo "error: $1 has no sha256, which comes last: no whole backup; take another" >&2
    exit 1
fi
(cd "$work" && sha256sum --quiet -c sha256)
dumps=$(sed -n 's/^[0-9a-f]*  \(.*\)\.dump$/\1/p' "$work/sha256")
[ -n "$dumps" ] || { echo "error: $1 holds no dump; take another" >&2; exit 1; }
mapfile -t databases <<< "$dumps"
elsewhere=$(bash "$checkout/cluster/databases.sh" elsewhere)
for database in $elsewhere; do
    [ ! -e "$work/$database.dump" ] || {
        echo "error: $1 holds $database, which another server has (own.env); restore it there, by pg_restore, or take" \
            "it out of own.env" >&2
        exit 1
    }
done
for database in "${databases[@]}"; do
    pg_restore -h /var/run/postgresql -p "$port" -d "$database" --clean --if-exists --no-owner --exit-on-error \
        --single-transaction "$work/$database.dump"
done
# A driver that runs on all the same holds a later lease than the backup knows: none of its tokens may come again.
leases=$(psql -h /var/run/postgresql -p "$port" -qAtc "select to_regclass('sweep_lease')" study)
[ -z "$leases" ] || psql -h /var/run/postgresql -p "$port" -qc "update sweep_lease set token = token + 1000000" study
users=$(psql -h /var/run/postgresql -p "$port" -qAtc "select to_regclass('users')" mlflow_users)
[ -z "$users" ] || "$checkout/.venv/bin/python" "$checkout/cluster/mlflow_admin.py" "$(dirname "$settings")"
echo "restored: $1 (${databases[*]})"
