#!/usr/bin/env bash
# Is everything right and fast on this GPU? One GPU with 16 cores, torch 2.11 or newer: at most eight minutes.
#   tools/gpu_check.sh [OUT]                               results go to OUT/results.jsonl (runs/gpu_check)
#   tools/gpu_check.sh OUT --device cpu --tiny             a trial of the script itself, without a GPU
#   python tools/benchmark.py --json OUT/results.jsonl --page docs/benchmarks.md     makes the page of it
# Each part has a time limit of its own, in seconds (times LIMIT_FACTOR, for slower machines); what it found until
# then is kept, and the next part runs. PYTHON names the interpreter.
set -uo pipefail
tools="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-python}"
out="${1:-runs/gpu_check}"
shift || true
words=("$@")
results="$out/results.jsonl"
mkdir -p "$out" || exit 1
recipes="$tools/../config/k400"
failed=0

# part NAME LIMIT COMMAND...: run a command, keep its console, and note how it ended
part() {
  local name="$1" limit="$(($2 * ${LIMIT_FACTOR:-1}))" start status=0
  shift 2
  start="$(date +%s)"
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1 || status=$?
  printf '{"section": "part", "what": "%s", "status": %d, "seconds": %d, "limit": %d}\n' \
    "$name" "$status" "$(($(date +%s) - start))" "$limit" | tee -a "$results"
  if [[ $status -ne 0 ]]; then
    failed=1
    tail -n 3 "$out/$name.log"
  fi
}

# measure NAME LIMIT SECTION...: sections of the benchmark
measure() {
  local name="$1" limit="$2"
  shift 2
  part "$name" "$limit" "$python" "$tools/benchmark.py" --json "$results" --folder "$out" \
    "${words[@]}" "$@"
}

measure roofline 15 roofline --seconds 2
if [[ " ${words[*]} " != *" cpu "* ]]; then
  part tests 70 "$python" -m pytest -q -m gpu -p no:cacheprovider "$tools/../tests"
fi
for name in k400_tokshift_div4_8x32_base_224 pptimesformer_8_base_224 tsm_r50_8_uniform; do
  measure "parity_$name" 20 parity --cfg "$recipes/$name.yml"
done
measure waits 30 waits
measure nccl 25 nccl --seconds 2 --cfg "$tools/../config/quickstart.yml"
for name in k400_tokshift_div4_8x32_base_224 k400_tokshift_div4_8x32_base_384 \
  k400_tokshift_div4_8x32_large_384 pptimesformer_8_base_224 tsm_r50_8_uniform; do
  measure "train_$name" 30 train compile --seconds 2 --cfg "$recipes/$name.yml"
done
measure test 30 test --seconds 3
measure load 30 load --seconds 3 --workers 8,16
measure feed 30 feed --seconds 4 --workers 8,16
measure quickstart 40 quickstart
exit "$failed"
