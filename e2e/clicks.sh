#!/usr/bin/env bash
# The flagship sample, kcl-samples/clicks: its tests, and `kill -9` 200 times between commit and
# checkpoint under `kcl-helper local`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build -q -p kcl-helper || exit 1
KCL_HELPER=${CARGO_TARGET_DIR:-$PWD/target}/debug/kcl-helper
export KCL_HELPER
out=$(CARGO_TARGET_DIR=target/e2e cargo test --locked --manifest-path kcl-samples/clicks/Cargo.toml 2>&1)
status=$?
grep -E '^test ' <<<"$out"
[ "$status" = 0 ] || echo "$out"
echo "$(grep -cE '^test .* \.\.\. ok$' <<<"$out") passed, $(grep -cE '^test .* \.\.\. FAILED$' <<<"$out") failed"
exit "$status"
