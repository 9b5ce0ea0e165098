#!/usr/bin/env bash
# Counts the instructions of the codec and the runtime on fixed inputs, and compares them with the
# bounds in bench/instructions.tsv. Needs valgrind, which it installs where it may.
# Usage: e2e/instructions.sh [--bless] [WORK…]; --bless makes the counts of now the bounds.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
  echo "valgrind is not here: installing it" >&2
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq valgrind; } >&2 || {
    echo "error: cannot install valgrind, without which nothing can be counted" >&2
    echo "hint: install it by hand, as your system has it, and run $0 again" >&2
    exit 3
  }
fi

cargo build --quiet --release --locked -p kcl-bench -p kcl-samples
"${CARGO_TARGET_DIR:-target}/release/instructions" "$@"
