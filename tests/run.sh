#!/usr/bin/env bash
# Run the tests, in an environment that has what they need (made if there is none).
#   tests/run.sh                 # the default run
#   tests/run.sh -m slow         # the slow ones
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
REQUIREMENTS="${REQUIREMENTS:-requirements-dev.txt}"
source tools/launching/environment.sh
exec "$python" -m pytest "$@"
