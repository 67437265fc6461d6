#!/usr/bin/env bash
# local_disk.sh FOLDER [OWNER]: puts a worker's FOLDER on the machine's own disk, as root, where it has one.
# What lies there, the frozen layers' cache, may be lost with the machine. AWS ends its disk with it.
set -euo pipefail
folder=$1
owner=${2:-${SUDO_USER:-root}}
ready=/opt/dlami/nvme  # where Amazon's deep learning images mount it themselves
if ! mountpoint -q "$folder" && [ ! -L "$folder" ]; then
    disks=(/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_*)
    if mountpoint -q "$ready"; then
        mkdir -p "$ready/sweeps"
        ln -sfn "$ready/sweeps" "$folder"
    elif [ -e "${disks[0]}" ]; then
        bash "$(dirname "$0")/mount_volume.sh" "${disks[0]}" "$folder"
    else
        echo "no local disk here: $folder stays on the root disk" >&2
        mkdir -p "$folder"
    fi
fi
install -d -o "$owner" -m 700 "$folder/cache"
chown "$owner" "$(readlink -e "$folder")"
