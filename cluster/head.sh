#!/usr/bin/env bash
# head.sh DISK STORE: what a cluster's head is beside Ray, as root: the data volume at /sweeps, PostgreSQL on it, MLflow
# in front of that, artifacts and backups in STORE (s3://BUCKET, or a folder). May be run again; on a new machine it
# finds what the last one left on the volume.
set -euo pipefail
disk=$1 store=$2
user=${SUDO_USER:?run it with sudo, as the user that runs the sweeps}
checkout=$(cd "$(dirname "$0")/.." && pwd)
bash "$checkout/cluster/mount_volume.sh" "$disk" /sweeps
grep -q ' /sweeps ' /etc/fstab ||  # for a reboot; a new machine comes here again
    echo "UUID=$(blkid -p -o value -s UUID "$(readlink -e "$disk")") /sweeps ext4 noatime,nofail 0 2" >> /etc/fstab
install -d -o "$user" -m 700 /sweeps/cache
port=$(bash "$checkout/cluster/postgres.sh" /sweeps/postgresql "$user" study mlflow mlflow_users)
bash "$checkout/cluster/mlflow_service.sh" "$checkout" "$user" "$port" "$store" /sweeps
install -m 644 /sweeps/settings/mlflow.service /etc/systemd/system/mlflow.service
systemctl daemon-reload
systemctl enable --quiet mlflow
systemctl restart mlflow
