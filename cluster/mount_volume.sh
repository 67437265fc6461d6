#!/usr/bin/env bash
# mount_volume.sh DEVICE FOLDER: mounts a disk, as root. An empty disk gets a file system first; one that holds
# anything at all (a file system, a partition table, some bytes at its start) is never formatted.
set -euo pipefail
device=$(readlink -e "$1") || { echo "error: no disk at $1" >&2; exit 1; }
folder=$2
kind=$(blkid -p -o value -s TYPE "$device" || true)
if [ -z "$kind" ]; then
    # blkid says nothing of a partition table's disk, nor of what it does not know: so the bytes are asked as well.
    if [ -n "$(blkid -p -o value -s PTTYPE "$device" || true)" ] ||
        ! cmp -s -n 1048576 "$device" /dev/zero; then
        echo "error: $device holds data and no file system that is known here; it is left alone" >&2
        exit 1
    fi
    mkfs.ext4 -q -m 0 "$device"
elif [ "$kind" != ext4 ]; then
    echo "error: $device holds $kind; expected ext4, or an empty disk; it is left alone" >&2
    exit 1
fi
mkdir -p "$folder"
if mountpoint -q "$folder"; then
    [ "$(readlink -e "$(findmnt -no SOURCE "$folder")")" = "$device" ] && exit 0
    echo "error: another disk is mounted at $folder" >&2
    exit 1
fi
mount -o noatime "$device" "$folder"
resize2fs "$device" 2>/dev/null || true  # a volume that was made larger
