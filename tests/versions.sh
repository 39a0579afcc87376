#!/usr/bin/env bash
# Run what depends most on the installed packages (readers, weights, export, a one-epoch quickstart) with
# other Pythons of this machine, each in an environment of its own that the usual commands make.
#   tests/versions.sh                # the oldest and the newest from 3.10 to 3.13, today's packages
#   tests/versions.sh 3.12           # that one
#   tests/versions.sh lowest         # all tests, the oldest Python, the lowest versions of requirements*.txt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
VERSIONS=(3.10 3.11 3.12 3.13)

# Prints the path of a Python that can make environments; fails if there is none of this version.
find_python() {
  local candidate
  for candidate in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1."*/bin/python3; do
    if [[ -n "$candidate" ]] && "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

found=()
for version in "${VERSIONS[@]}"; do
  ! find_python "$version" >/dev/null || found+=("$version")
done
oldest="${found[0]:?no Python from ${VERSIONS[0]} on is on this machine}" newest="${found[-1]}"
active="$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"

selection=(tests/datasets/decode tests/datasets/test_readers.py tests/datasets/test_live.py tests/test_damage.py
  tests/models/weights tests/models/test_pretrained*.py tests/models/test_exported.py tests/tools/test_export.py)
case "${1:-}" in
  "") chosen=("$oldest" "$newest") ;;
  lowest)
    chosen=("$oldest") selection=()
    sed -E 's/>=([0-9.]+)(,<[0-9.]+)?$/==\1/' requirements.txt > "$scratch/requirements.txt"
    sed -E 's/>=([0-9.]+)(,<[0-9.]+)?$/==\1/' requirements-dev.txt > "$scratch/requirements-dev.txt"
    export REQUIREMENTS="$scratch/requirements-dev.txt"
    ;;
  *) chosen=("$1") ;;
esac

for version in $(printf '%s\n' "${chosen[@]}" | sort -uV); do
  if [[ -z "${1:-}" && "$version" == "$active" ]]; then
    continue # the usual run has it
  fi
  echo "== Python $version ${1:-}"
  mkdir "$scratch/$version"
  ln -s "$(find_python "$version")" "$scratch/$version/python3"
  (
    export PATH="$scratch/$version:$PATH" VENV="$scratch/$version/venv"
    tests/run.sh "${selection[@]}"
    ./train.sh --cfg config/quickstart.yml --output "$scratch/$version/quickstart" TRAIN.EPOCHS 1
    "$VENV/bin/python" -m pip list --format freeze \
      | grep -iE '^(torch|torchvision|numpy|pillow|scipy|av|onnx|onnxruntime|onnxscript|timm)=='
  )
  rm -rf "$scratch/$version/venv" # some GB
done
