#!/usr/bin/env bash
# shared_folder.sh HOST:PATH FOLDER [OWNER]: mounts by NFS 4.1 the folder that all nodes share, as root. A node that
# cannot see it does not start: trials would leave their states nowhere.
set -euo pipefail
source=$1 folder=$2 owner=${3:-${SUDO_USER:-root}}
command -v mount.nfs4 >/dev/null || apt-get -qq -o DPkg::Lock::Timeout=600 install -y nfs-common >/dev/null
mkdir -p "$folder"
if ! mountpoint -q "$folder"; then
    # hard: a write waits for a server that is away, and is never lost without a word.
    mount -t nfs4 -o nfsvers=4.1,hard,timeo=600,retrans=2,rsize=1048576,wsize=1048576,noresvport "$source" "$folder"
fi
grep -q " $folder " /etc/fstab ||
    echo "$source $folder nfs4 nfsvers=4.1,hard,timeo=600,retrans=2,noresvport,nofail,_netdev 0 0" >> /etc/fstab
[ -d "$folder/runs" ] || install -d -o "$owner" -m 700 "$folder/runs"
