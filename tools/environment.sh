# Sourced by train.sh, test.sh and tests/run.sh: puts a Python that has what we need first on PATH,
# and defines `launch`. REQUIREMENTS names the file to satisfy; VENV the folder to make one in.
requirements="${REQUIREMENTS:-requirements.txt}"
venv="${VENV:-.venv}"
if [[ -z "${VENV:-}" ]] && command -v python >/dev/null \
  && python tools/check_environment.py "$requirements" >/dev/null 2>&1; then
  echo "using the active environment, $(command -v python)"
else
  if ! "$venv/bin/python" tools/check_environment.py "$requirements" 2>/dev/null; then
    echo "making the environment $venv from $requirements (some GB, once)"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
      || { echo "error: python3 must be 3.10 or newer" >&2; exit 1; }
    python3 -m venv "$venv" \
      || { echo "error: python3 cannot make environments; on Debian: apt install python3-venv" >&2; exit 1; }
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
  fi
  PATH="$PWD/$venv/bin:$PATH"
  [[ "$venv" != /* ]] || PATH="$venv/bin:$PATH"
  echo "using the environment $venv"
fi

# Runs a script under torchrun, a process for each GPU, or PROCESSES; a CPU gets two at most. With
# MASTER_ADDR set this host is one of NODES, as a cluster's scheduler starts it (README, "Several
# hosts").
launch() {
  local processes="${PROCESSES:-$(python tools/check_environment.py --processes)}"
  local threads=$(($(nproc) / processes))
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"
  local rendezvous=(--standalone)
  if [[ -n "${MASTER_ADDR:-}" ]]; then
    rendezvous=(--nnodes "${NODES:?NODES says how many hosts there are}" --rdzv-backend c10d
      --rdzv-endpoint "$MASTER_ADDR:${MASTER_PORT:-29500}" --rdzv-id "${JOB_ID:-tokshift}")
  fi
  exec python -m torch.distributed.run "${rendezvous[@]}" --nproc-per-node "$processes" "$@"
}
