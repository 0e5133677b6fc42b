#!/usr/bin/env bash
# The whole walk on a real base model: seeds, new tasks, a look at them, a fine-tune, answers before and after.
# Everything it makes is in demo/, which is made anew each time.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/target/debug:$PATH"
model=models/gemma-3-270m
target=${EWE_DEMO_TARGET:-40}
start=$SECONDS

say() { printf '\n\033[1m== %s\033[0m  (%d:%02d)\n' "$1" $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60)); }
run() {
    printf '$'
    printf ' %q' "$@"
    printf '\n'
    "$@"
}

cat >&2 <<TEXT
The demo runs Gemma 3 270M (base) by Google, in $model.
Gemma is provided under and subject to the Gemma Terms of Use: https://ai.google.dev/gemma/terms
TEXT

rm -rf demo
mkdir demo
cat >demo/questions.txt <<'TEXT'
Give three tips for staying focused while studying.
Name the season that comes after winter.
Write a one-sentence apology for arriving late to a meeting.
TEXT

say "A dataset from the seed tasks"
run ewe init --db demo/demo.db

say "The base model writes $target new tasks"
run ewe generate --db demo/demo.db --model "$model" --target "$target"

say "What is in the file now"
run ewe stats --db demo/demo.db

say "Three instructions, before"
run ewe chat --model "$model" --temperature 0 --max-tokens 60 <demo/questions.txt | tee demo/before.txt

say "A LoRA fine-tune on seeds and new tasks, one epoch"
run ewe train --db demo/demo.db --model "$model" --out demo/adapter --method lora --epochs 1

say "The same three, after"
run ewe chat --model "$model" --adapter demo/adapter --temperature 0 --max-tokens 60 <demo/questions.txt | tee demo/after.txt

say "Done"
cat <<TEXT
  demo/demo.db          the dataset: $(ewe -q export --db demo/demo.db --format completion --out - | wc -l) examples, every prompt, answer and verdict
  demo/adapter          the LoRA adapter, in PEFT's format, with metrics.jsonl
  demo/before.txt, demo/after.txt

Try next:
  sqlite3 demo/demo.db "select reason, count(*) from rejection group by 1 order by 2 desc"
  target/debug/ewe curate --db demo/demo.db
  target/debug/ewe chat --model $model --adapter demo/adapter
TEXT
