#!/usr/bin/env bash
# Train on every GPU of this host, or in two processes on a CPU. Without arguments: the quickstart.
#   ./train.sh --cfg config/k400/k400_tokshift_div4_8x32_base_224.yml OPTIM.LR 0.05
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/launching/environment.sh
[[ $# -gt 0 ]] || set -- --cfg config/quickstart.yml
launch main_ddp_shift.py "$@"
