#!/usr/bin/env bash
# `ewe demo` in a checkout, as `make demo` runs it: seeds, new tasks, a look at them, a fine-tune,
# answers before and after, on the demo model. All output is in demo/, which is replaced each time.
# EWE_DEMO_TARGET is the number of new tasks.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/target/debug:$PATH"
rm -rf demo
exec ewe demo --target "${EWE_DEMO_TARGET:-40}"
