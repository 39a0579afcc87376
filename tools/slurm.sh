#!/usr/bin/env bash
# Train on several hosts under SLURM. Two minutes before the time limit the run writes a checkpoint and
# ends, the job is queued again, and goes on with the very next clip; so does a preempted one.
#   sbatch --nodes 2 tools/slurm.sh --cfg config/k400/k400_vit_8x32_224.yml --output DIR
#SBATCH --job-name=tokshift
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source tools/launching/environment.sh # once, here, before all hosts look for it
trap : INT TERM HUP USR1 USR2         # the processes get them, too: wait for what they save
MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT NODES="$SLURM_JOB_NUM_NODES" JOB_ID="$SLURM_JOB_ID"
status=0
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" ./train.sh --resume auto "$@" || status=$?
if ((status == 128 + $(kill -l USR1))); then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
