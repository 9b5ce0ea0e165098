#!/usr/bin/env bash
# Runs tests of whole processes under the poll of macOS, which differs from Linux's in ways that cost a
# Mac's users a hang-up: see e2e/portability/xnu_poll.c. Needs Linux, a C compiler and Python.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

cc -O2 -Wall -Wextra -shared -fPIC -o "$work/xnu_poll.so" e2e/portability/xnu_poll.c -ldl
LD_PRELOAD=$work/xnu_poll.so python3 e2e/portability/xnu_poll.py

# rustix calls the system itself on Linux, and the C library only if told to.
options=(--locked -p kcl-runtime -p kcl-helper --features rustix/use-libc)
# Cargo builds no example for tests that are chosen one by one.
cargo build --quiet "${options[@]}" --examples
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=env LD_PRELOAD=$work/xnu_poll.so XNU_POLL_LOG=$work/log"
# What waits for ever there would do so here.
timeout 600 cargo test "${options[@]}" --lib --test process --test record
timeout 600 cargo test "${options[@]}" --lib -- child:: guardian:: record::

# A test that starts its program without the library would pass without having tested anything.
for program in awkward_processor kcl-helper; do
    if ! grep -qx "$program" "$work/log"; then
        echo "error: no process of $program used the poll of macOS" >&2
        exit 1
    fi
done
sort "$work/log" | uniq -c
