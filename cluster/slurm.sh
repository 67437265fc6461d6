#!/usr/bin/env bash
#SBATCH --job-name=sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# sbatch cluster/slurm.sh search_spaces/exp4.py [OPTION...]: a sweep on Slurm, from the checkout, which all nodes see
# (results go to runs/ in it, unless --out says another shared folder). Once before, in it: make .venv/.installed. Edit
# the lines above. One Ray a node; exclusive, since Ray's stop at the end stops every Ray of yours on the node. When the
# time is up, or the job is requeued, the same command goes on.
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
[ -x .venv/bin/ray ] || { echo "error: no .venv/bin/ray in $PWD; make .venv/.installed there, then again" >&2; exit 2; }
export PATH="$PWD/.venv/bin:$PATH"

# Whoever reaches a Ray port runs code on every node: other users of the cluster do, so they need a token.
umask 077
mkdir -p runs
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$PWD/runs/.slurm-token-$SLURM_JOB_ID"
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT
openssl rand -hex 32 > "$RAY_AUTH_TOKEN_PATH"

# By number, as a host's name may mean its loopback on itself; a port of the job's own.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
ip=$(srun --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" hostname -I | cut -d ' ' -f 1)
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    ray symmetric-run --address "$ip:$((20000 + SLURM_JOB_ID % 10000))" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --disable-usage-stats -- python -m orchestrator.sweep --address auto "$@"
