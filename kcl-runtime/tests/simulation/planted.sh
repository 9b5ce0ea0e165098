#!/usr/bin/env bash
# Shows that the simulation can fail: plants the bugs of planted/ one at a time into a copy of what
# is committed, and says after how many lives each was found. Run by hand; takes minutes.
set -euo pipefail
cd "$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)"
planted=$PWD/kcl-runtime/tests/simulation/planted
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git archive HEAD | tar -x -C "$copy"
cd "$copy"
# Without a repository of its own, git would leave out what is not below this folder.
git init -q
failed=0
for patch in "$planted"/*.patch; do
    git apply "$patch"
    out=$(SIMULATION_LIVES=100000 cargo test -p kcl-runtime --test simulation 2>&1 || true)
    if found=$(grep -m1 '^life [0-9]* failed, after ' <<<"$out"); then
        echo "$(basename "$patch" .patch): $found"
    else
        echo "$(basename "$patch" .patch): not found, or the patch is stale:"
        tail -n 5 <<<"$out"
        failed=1
    fi
    git apply --reverse "$patch"
done
exit "$failed"
