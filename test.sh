#!/usr/bin/env bash
# Test a checkpoint with all views (10 clips x 3 crops) on every GPU of this host.
#   ./test.sh --evaluate --resume CKPT --cfg config/k400/k400_tokshift_div4_8x32_base_224.yml
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/tools/launching/environment.sh"
[[ $# -gt 0 ]] || set -- --cfg config/quickstart.yml --resume runs/quickstart/best.pth
launch "$here/main_ddp_shift.py" --evaluate "$@"
