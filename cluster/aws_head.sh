#!/usr/bin/env bash
# aws_head.sh BUCKET [NAME]: sets up the head on AWS, as root: attaches its data volume, then as head.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
disk=$("$here/../.venv/bin/python" "$here/aws_volume.py" "${2:-multitask-sweeps}")
bash "$here/head.sh" "$disk" "s3://$1"
