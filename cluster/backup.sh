#!/usr/bin/env bash
# backup.sh: the databases of the cluster's head, dumped to SWEEP_BACKUPS (s3://... or a folder) under the moment's name.
# A dump is read back whole before it counts; restore.sh takes it from there.
set -euo pipefail
# shellcheck source=/dev/null
[ -n "${SWEEP_STUDY_URI:-}" ] || . "${SWEEP_SETTINGS:-/sweeps/settings/sweep.env}"
query=${SWEEP_STUDY_URI#*\?}  # host=...&port=...
port=$(sed -n 's/.*port=\([0-9]*\).*/\1/p' <<< "$query")
when=$(date -u +%Y-%m-%dT%H%M%S.%NZ)  # two sweeps may end in one second
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for database in study mlflow mlflow_users; do
    pg_dump -h /var/run/postgresql -p "$port" -Fc -d "$database" -f "$work/$database.dump"
    pg_restore -f /dev/null "$work/$database.dump"
done
(cd "$work" && sha256sum -- *.dump > sha256)
case $SWEEP_BACKUPS in
    s3://*) aws s3 cp --only-show-errors --recursive "$work" "$SWEEP_BACKUPS/$when" ;;
    *) mkdir -p "$SWEEP_BACKUPS" && cp -r "$work" "$SWEEP_BACKUPS/$when" ;;
esac
echo "backup: $SWEEP_BACKUPS/$when"
