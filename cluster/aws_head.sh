#!/usr/bin/env bash
# aws_head.sh BUCKET [NAME]: what the head is beside Ray, as root: the data volume at /sweeps, PostgreSQL on it,
# MLflow in front of that. May be run again; on a new machine it finds what the last one left on the volume.
set -euo pipefail
bucket=$1 name=${2:-multitask-sweeps}
user=${SUDO_USER:?run it with sudo, as the user that runs the sweeps}
checkout=$(cd "$(dirname "$0")/.." && pwd)
disk=$("$checkout/.venv/bin/python" "$checkout/cluster/aws_volume.py" "$name")
bash "$checkout/cluster/mount_volume.sh" "$disk" /sweeps
install -d -o "$user" -m 700 /sweeps/runs /sweeps/settings
port=$(bash "$checkout/cluster/postgres.sh" /sweeps/postgresql "$user" study mlflow mlflow_users)
bash "$checkout/cluster/mlflow_service.sh" "$checkout" "$user" "$port" "s3://$bucket"
