#!/usr/bin/env bash
# backup.sh: the databases of the cluster's head, dumped to SWEEP_BACKUPS (s3://... or a folder) under the moment's name.
# A dump is read back whole before it counts, and the sums come last: what has none is no backup. restore.sh takes it
# from there. What own.env puts into another server is left to that.
set -euo pipefail
given=${SWEEP_BACKUPS:-}
# shellcheck source=/dev/null
. "${SWEEP_SETTINGS:-/sweeps/settings/sweep.env}"
place=${given:-$SWEEP_BACKUPS}
here=$(dirname "$0")
local=$(bash "$here/databases.sh" here)
mapfile -t databases <<< "$local"
elsewhere=$(bash "$here/databases.sh" elsewhere | paste -sd ,)
when=$(date -u +%Y-%m-%dT%H%M%S.%NZ)  # two sweeps may end in one second
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for database in "${databases[@]}"; do
    pg_dump -h /var/run/postgresql -p "$SWEEP_POSTGRES_PORT" -Fc -d "$database" -f "$work/$database.dump"
    pg_restore -f /dev/null "$work/$database.dump"
done
(cd "$work" && sha256sum -- *.dump > sha256)
case $place in
    s3://*)
        aws s3 cp --only-show-errors --recursive --exclude sha256 "$work" "$place/$when"
        aws s3 cp --only-show-errors "$work/sha256" "$place/$when/sha256"
        ;;
    *)
        mkdir -p "$place"
        part=$place/.$when.part
        trap 'rm -rf "$work" "$part"' EXIT
        cp -r "$work" "$part"
        sync "$part"/* "$part"
        mv -T "$part" "$place/$when"
        sync "$place"
        ;;
esac
[ -z "$elsewhere" ] ||
    echo "no backup of ${elsewhere//,/, }: another server has them, with backups of its own (own.env)" >&2
echo "backup: $place/$when"
