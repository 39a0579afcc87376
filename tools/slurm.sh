#!/usr/bin/env bash
# Train on several hosts under SLURM; it goes on from the last checkpoint when it is requeued.
#   sbatch --nodes 2 tools/slurm.sh --cfg config/k400/k400_tokshift_div4_8x32_base_224.yml --output DIR
#SBATCH --job-name=tokshift
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
export MASTER_ADDR NODES="$SLURM_JOB_NUM_NODES" JOB_ID="$SLURM_JOB_ID"
output=""
for ((i = 1; i < $#; i++)); do
  next=$((i + 1))
  [[ "${!i}" != --output ]] || output="${!next}"
done
[[ -z "$output" || ! -e "$output/last.pth" ]] || set -- "$@" --resume
srun ./train.sh "$@"
