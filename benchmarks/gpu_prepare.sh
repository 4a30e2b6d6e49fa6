#!/usr/bin/env bash
# Gather what benchmarks/gpu.sh takes along to a machine with a GPU and without a package registry.
#
#   benchmarks/gpu_prepare.sh FOLDER CIFAR.tar.xz WEIGHTS.safetensors
#
# The machine is expected to have torch, torchvision, timm and their like; the wheels here are those that it lacks, for
# Python 3.12 on x86-64. All of it must stay below 64 MiB, which is checked.
set -euo pipefail
FOLDER=$1
CIFAR=$2
WEIGHTS=$3
PYTHON=${PYTHON:-.venv/bin/python}
MISSING=(pydantic pydantic-core annotated-types typing-inspection platformdirs)
rm -rf "$FOLDER/wheels"
mkdir -p "$FOLDER/wheels"
PINS=()
for name in "${MISSING[@]}"; do
  PINS+=("$(grep -i "^$name==" "$(dirname "$0")/../requirements.txt" | cut -d' ' -f1)")
done
PLATFORMS=()
for platform in manylinux_2_28 manylinux_2_17 manylinux2014 manylinux1; do PLATFORMS+=(--platform "${platform}_x86_64"); done
"$PYTHON" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
  "${PLATFORMS[@]}" -d "$FOLDER/wheels" "${PINS[@]}"
"$PYTHON" -m pip wheel -q --no-deps -w "$FOLDER/wheels" "$(grep '^efficientnet-pytorch==' "$(dirname "$0")/../requirements.txt" | cut -d' ' -f1)"
cp "$CIFAR" "$WEIGHTS" "$FOLDER/"
du -sh "$FOLDER"
size=$(du -sk "$FOLDER" | cut -f1)
((size < 64 * 1024)) || { echo "error: more than 64 MiB"; exit 1; }
