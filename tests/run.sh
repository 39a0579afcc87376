#!/usr/bin/env bash
# Run the tests, in an environment that has what they need (made if there is none), a process a core.
#   tests/run.sh                 # the default run
#   tests/run.sh -m slow         # the slow ones
#   tests/run.sh -n 0 FILE       # in this process, to debug
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
REQUIREMENTS="${REQUIREMENTS:-requirements-dev.txt}"
source tools/launching/environment.sh
if [[ " $* " != *no:xdist* ]]; then
  cores="$("$python" tools/launching/check_environment.py --cores)"
  export PYTEST_XDIST_AUTO_NUM_WORKERS="${PYTEST_XDIST_AUTO_NUM_WORKERS:-$cores}"
  # worksteal: each process takes one run of neighbouring files, so that most module fixtures are made
  # once, and whoever is done early takes over the rest of another's; above eight, memory runs short
  set -- --numprocesses auto --maxprocesses 8 --dist worksteal "$@"
fi
exec "$python" -m pytest "$@"
