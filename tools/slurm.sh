#!/usr/bin/env bash
# Train on several hosts under SLURM; a requeued job goes on from the last checkpoint.
#   sbatch --nodes 2 tools/slurm.sh --cfg config/k400/k400_vit_8x32_224.yml --output DIR
#SBATCH --job-name=tokshift
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
source tools/launching/environment.sh # once, here, before all hosts look for it
MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT NODES="$SLURM_JOB_NUM_NODES" JOB_ID="$SLURM_JOB_ID"

# A run that has a checkpoint goes on: --resume takes the place of the --tune_from that began it.
output="" kept=() start=()
while (($#)); do
  case "$1" in
    --output) output="$2" kept+=("$1" "$2") && shift ;;
    --output=*) output="${1#*=}" kept+=("$1") ;;
    --tune_from) start=("$1" "$2") && shift ;;
    --tune_from=*) start=("$1") ;;
    *) kept+=("$1") ;;
  esac
  shift
done
if [[ -n "$output" ]] \
  && { compgen -G "$output/last.pth" || compgen -G "$output/ckpt_e*.pth"; } >/dev/null; then
  start=(--resume)
fi
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" ./train.sh "${start[@]}" "${kept[@]}"
