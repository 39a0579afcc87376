# Sourced by train.sh, test.sh and tests/run.sh: finds or makes a Python that has what we need, as
# $python, and defines `launch`. REQUIREMENTS names the file to satisfy; VENV a folder to use for the
# environment, instead of the active Python or .venv. Changes no folder: relative paths are the caller's.
stopped() {
  echo "stopped by SIG$1: nothing was saved yet; the same command starts again" >&2
  exit $((128 + $(kill -l "$1")))
}
for name in INT TERM HUP USR1 USR2; do trap "stopped $name" "$name"; done # until the launcher has them

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
requirements="${REQUIREMENTS:-$root/requirements.txt}"
python=""
if [[ -z "${VENV:-}" ]]; then
  for candidate in python python3; do
    if command -v "$candidate" >/dev/null \
      && "$candidate" "$root"/tools/launching/check_environment.py "$requirements" >/dev/null 2>&1; then
      python="$candidate"
      echo "using the active Python, $(command -v "$python")" >&2
      break
    fi
  done
fi
if [[ -z "$python" ]]; then
  venv="${VENV:-$root/.venv}"
  python="$venv/bin/python"
  lacks() { [[ ! -x "$python" ]] || ! "$python" "$root"/tools/launching/check_environment.py "$requirements" >/dev/null; }
  # Hosts with one file system may start at once: the first makes it. To make a folder is to win on all of them.
  lock="$venv.lock" me="$HOSTNAME $$" place="$(dirname "$venv")"
  if lacks && ! { mkdir -p "$place" && [[ -w "$place" ]]; }; then
    echo "error: no environment can be made in $place; name another place: VENV=FOLDER" >&2
    exit 1
  fi
  while lacks && ! { mkdir "$lock" && echo "$me" >"$lock/owner"; } 2>/dev/null; do
    owner="$(cat "$lock/owner" 2>/dev/null || true)"
    if [[ "$owner" == "$HOSTNAME "* ]] && ! kill -0 "${owner#* }" 2>/dev/null; then
      rm -rf "$lock" # who made it on this host is gone
      continue
    fi
    [[ "$owner" == "${said:-}" ]] || echo "waiting for $venv, which is made by process ${owner#* } on ${owner% *}; if that is gone: rm -r $lock" >&2
    said="$owner"
    sleep 2
  done
  if lacks; then
    trap 'rm -rf "$lock"' EXIT
    echo "making the environment $venv from $requirements (some GB, once)"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
      || { echo "error: this needs python3 3.10 or newer" >&2; exit 1; }
    python3 -m venv "$venv" || {
      echo "error: python3 cannot make an environment; on Debian: apt install python3-venv" >&2
      exit 1
    }
    "$python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
  fi
  if [[ "$(cat "$lock/owner" 2>/dev/null)" == "$me" ]]; then
    rm -rf "$lock"
    trap - EXIT
  fi
  echo "using the environment $venv" >&2
fi

# Runs a script under torchrun in PROCESSES processes: by default one for each GPU, two on a CPU.
# With MASTER_ADDR set, this host is one of NODES (docs/clusters.md).
launch() {
  local numbers processes threads
  numbers="$("$python" "$root"/tools/launching/check_environment.py --processes ${PROCESSES:+"$PROCESSES"})"
  read -r processes threads <<<"$numbers"
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$threads}"
  local rendezvous=(--standalone)
  if [[ -n "${MASTER_ADDR:-}" ]]; then
    rendezvous=(--nnodes "${NODES:?set NODES to the number of hosts}" --rdzv-backend c10d
      --rdzv-endpoint "$MASTER_ADDR:${MASTER_PORT:-29500}" --rdzv-id "${JOB_ID:-tokshift}")
  fi
  exec "$python" "$root"/tools/launching/torchrun.py "${rendezvous[@]}" --nproc-per-node "$processes" "$@"
}
