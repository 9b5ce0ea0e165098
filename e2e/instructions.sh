#!/usr/bin/env bash
# Counts the instructions of the codec and the runtime on fixed inputs, and compares them with the
# bounds in bench/instructions.tsv. Needs valgrind, which it installs if it can.
# Usage: e2e/instructions.sh [--bless] [WORKLOAD…]; --bless updates the bounds.
set -euo pipefail
cd "$(dirname "$0")/.."

.ci/install valgrind valgrind
cargo build --quiet --release --locked -p kcl-bench -p kcl-samples
"${CARGO_TARGET_DIR:-target}/release/instructions" "$@"
