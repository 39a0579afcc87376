#!/usr/bin/env bash
# Train on every GPU of this host, or in two processes on a CPU. Without arguments: the quickstart.
#   ./train.sh --cfg config/k400/k400_tokshift_div4_8x32_base_224.yml OPTIM.LR 0.05
#   ./train.sh --videos FOLDER [--tune_from FILE]   # a folder per class: lists, config and run
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/tools/launching/environment.sh"
[[ $# -gt 0 ]] || set -- --cfg config/quickstart.yml
if [[ "$1" == --videos* ]]; then # writes lists and config, and comes back here with --cfg
  exec "$python" "$here/tools/new_experiment.py" "$@"
fi
launch "$here/main_ddp_shift.py" "$@"
