#!/usr/bin/env bash
# All figures of a GPU by one command, in at most nine minutes; most valuable first, on after a failed step.
#
#   benchmarks/gpu.sh [--dry-run] [FOLDER]
#
# FOLDER holds what benchmarks/gpu_prepare.sh puts there: wheels/ of packages that the machine lacks, an archive of
# CIFAR-10's JPEGs and the weights of EfficientNetV2-B0; whatever is missing there is left out or random.
# Every figure is one line of JSON in $OUT/figures.jsonl, written at once ($OUT: data/benchmarks/gpu if unset); what the
# steps print is in $OUT/log.txt. Reads the card's state and changes no setting of it. --dry-run: the same steps on the
# CPU with tiny sizes. Exit code: how many steps failed.
set -uo pipefail
cd "$(dirname "$0")/.."
DRY=()
FOLDER=""
for argument in "$@"; do
  if [[ $argument == --dry-run ]]; then DRY=(--dry-run); else FOLDER=$argument; fi
done
OUT=${OUT:-data/benchmarks/gpu}
PYTHON=${PYTHON:-python3}
DEADLINE=${DEADLINE:-540} # seconds, of all steps together
if [[ ${#DRY[@]} -gt 0 ]]; then
  DEADLINE=3600 # a dry run shows that every step works, on a busy machine too
  export OMP_NUM_THREADS=1
fi
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
mkdir -p "$OUT"
export GPU_FIGURES=$OUT/figures.jsonl AUGCACHE_STORE=$SCRATCH/store PYTHONUNBUFFERED=1
export PYTHONPATH=$PWD:$PWD/benchmarks:$PWD/benchmarks/gpu:$SCRATCH/site
: >"$GPU_FIGURES"
: >"$OUT/log.txt"
FAILED=0

run() { # NAME SECONDS COMMAND...: one step in a process of its own, as long as time is left
  local name=$1 limit=$2 left=$((DEADLINE - SECONDS)) begun=$SECONDS code
  shift 2
  if ((left < 5)); then
    printf '{"figure": "step", "step": "%s", "left_out": "no time is left"}\n' "$name" | tee -a "$GPU_FIGURES"
    return 0
  fi
  [[ ${#DRY[@]} -eq 0 ]] || limit=$left
  ((limit < left)) || limit=$left
  timeout --kill-after=5 "$limit" "$@" 2>&1 | tee -a "$OUT/log.txt"
  code=${PIPESTATUS[0]}
  printf '{"figure": "step", "step": "%s", "exit": %d, "seconds": %d, "limit": %d}\n' \
    "$name" "$code" $((SECONDS - begun)) "$limit" | tee -a "$GPU_FIGURES"
  return "$code"
}

step() { run "$@" || FAILED=$((FAILED + 1)); }

python_step() { # NAME SECONDS SCRIPT OPTIONS...
  local name=$1 limit=$2 script=$3
  shift 3
  step "$name" "$limit" "$PYTHON" "benchmarks/gpu/$script.py" "$@" ${DRY[@]+"${DRY[@]}"}
}

first() { # the first file of a pattern in FOLDER, or nothing
  [[ -n $FOLDER ]] && find "$FOLDER" -maxdepth 1 -name "$1" | sort | head -1
}

if [[ -n $FOLDER && -d $FOLDER/wheels ]]; then
  step wheels 60 "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
    --target "$SCRATCH/site" "$FOLDER"/wheels/*.whl
fi
CIFAR=$(first 'cifar*.tar*')
WEIGHTS=$(first '*.safetensors')
DATA=""
JPEGS=""
[[ ${#DRY[@]} -gt 0 ]] && WEIGHTS=""

prepare() { # beside the smoke test, which measures no time
  run prepare 150 "$PYTHON" -m stages.prepare --quiet --data "$SCRATCH/data" --set "prepare.source=$CIFAR" \
    --set prepare.size=32 --set prepare.val=none --set prepare.test=official &&
    "$PYTHON" -m tarfile -e "$CIFAR" "$SCRATCH"
}

python_step machine 40 machine
PIDS=()
if [[ -n $CIFAR && ${#DRY[@]} -eq 0 ]]; then
  prepare &
  PIDS+=($!)
fi
for area in features heads train finetune gan attacks; do
  run "smoke $area" 150 "$PYTHON" benchmarks/gpu/smoke.py "$area" --weights "$WEIGHTS" ${DRY[@]+"${DRY[@]}"} &
  PIDS+=($!)
done
for pid in "${PIDS[@]}"; do
  wait "$pid" || FAILED=$((FAILED + 1))
done
if [[ -f $SCRATCH/data/prepare/train.h5 ]]; then
  DATA=$SCRATCH/data
  JPEGS=$(find "$SCRATCH" -type d -path '*cifar*/train' | head -1)
fi
CIFAR_OPTIONS=(--data "$DATA")
if [[ -z $DATA && ${#DRY[@]} -eq 0 ]]; then
  printf '{"figure": "note", "text": "no CIFAR-10: trainings see coloured noise, their accuracies mean nothing"}\n' |
    tee -a "$GPU_FIGURES"
fi

python_step featurize 110 featurize --weights "$WEIGHTS"
python_step "a thousand heads" 100 heads
python_step "ResNetV2-Prop to 95 %" 90 cifar --recipe 002-prop-fast "${CIFAR_OPTIONS[@]}"
python_step "plain loop" 50 plain --recipe 002-prop-fast --images "$JPEGS"
python_step "finetune V2-B0" 60 finetune "${CIFAR_OPTIONS[@]}" --weights "$WEIGHTS"
python_step "GANs" 40 gan
python_step "ResNetV2-Prop, compiled" 80 cifar --recipe 002-prop-fast --engine compile "${CIFAR_OPTIONS[@]}" --epochs 8
for recipe in 002-v2-20-standard 003-cbam 002-v2-20-t1 002-v2-20-t2 002-prop-t1 002-prop-t2 002-prop-t3; do
  python_step "$recipe" 60 cifar --recipe "$recipe" --fast --epochs 20 "${CIFAR_OPTIONS[@]}"
  [[ ${#DRY[@]} -gt 0 ]] && break
done
exit "$FAILED"
