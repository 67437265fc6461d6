#!/usr/bin/env bash
# sweep.sh SEARCH_SPACE [OPTION...]: a sweep on this cluster, from its head, and a backup of the databases at its end,
# however it ends. `ray job submit -- bash ~/multitask-sweeps/cluster/sweep.sh search_spaces/exp4.py`. Its exit code is
# the sweep's own. What is given here comes last, and so wins.
set -u
settings=${SWEEP_SETTINGS:-/sweeps/settings/sweep.env}
# shellcheck source=/dev/null
. "$settings" || { echo "error: no $settings here; cluster/head.sh writes it, which ray up calls" >&2; exit 2; }
cd "$(dirname "$0")/.." || exit 2
trap : TERM INT HUP  # Ray's stop comes to the sweep as well: it saves its trials, then the backup is made
.venv/bin/python -m orchestrator.sweep --address auto --out runs \
    --study-uri "$SWEEP_STUDY_URI" --tracking-uri "$MLFLOW_TRACKING_URI" "$@"
code=$?
bash cluster/backup.sh || echo "the sweep ended with exit code $code; its backup failed" >&2
exit $code
