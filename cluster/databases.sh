#!/usr/bin/env bash
# databases.sh here|elsewhere: which of study, mlflow and mlflow_users are in this head's PostgreSQL, or by own.env in
# another server, one a line. Reads the environment that sweep.env makes. For backup.sh and restore.sh.
set -euo pipefail
say() {
    case $3 in
        *host=/var/run/postgresql*) [ "$1" != here ] || echo "$2" ;;
        *) [ "$1" != elsewhere ] || echo "$2" ;;
    esac
}
own=host=/var/run/postgresql
say "$1" study "$SWEEP_STUDY_URI"
say "$1" mlflow "${MLFLOW_BACKEND_STORE_URI:-$own}"
say "$1" mlflow_users "$own"  # users.ini says so, and nobody else
