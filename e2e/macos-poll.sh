#!/usr/bin/env bash
# Runs tests of whole processes with the behaviour of `poll` on macOS, which does not report every hang-up that
# Linux reports: see e2e/portability/xnu_poll.c. Needs Linux, a C compiler and Python.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

cc -O2 -Wall -Wextra -shared -fPIC -o "$work/xnu_poll.so" e2e/portability/xnu_poll.c -ldl
LD_PRELOAD=$work/xnu_poll.so python3 e2e/portability/xnu_poll.py

# rustix calls the system itself on Linux, and the C library only if told to.
options=(--locked -p kcl-runtime -p kcl-helper --features rustix/use-libc)
# Cargo builds no examples if tests are selected by name.
cargo build --quiet "${options[@]}" --examples
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=env LD_PRELOAD=$work/xnu_poll.so XNU_POLL_LOG=$work/log"
# A test that would hang on macOS hangs here.
timeout 600 cargo test "${options[@]}" --lib --test process --test record

# If a test started its program without the library, it would pass without testing anything.
for program in awkward_processor kcl-helper; do
    if ! grep -qx "$program" "$work/log"; then
        echo "error: no process of $program used the poll of macOS" >&2
        exit 1
    fi
done
sort "$work/log" | uniq -c
