#!/usr/bin/env bash
# Shows that the model test of `local` can fail: plants the bugs of planted/ one at a time into a copy of what
# is committed, and says which sequence found each. Run by hand; takes minutes.
set -euo pipefail
cd "$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)"
planted=$PWD/kcl-helper/tests/local_model/planted
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git archive HEAD | tar -x -C "$copy"
cd "$copy"
# Without a repository of its own, git would leave out what is not below this folder.
git init -q
cargo build -q -p kcl-helper --examples
failed=0
for patch in "$planted"/*.patch; do
    git apply "$patch"
    out=$(PROPTEST_CASES=${PROPTEST_CASES:-2000} cargo test -p kcl-helper --test local_model 2>&1 || true)
    if found=$(grep -m1 '^sequence [0-9]* failed: ' <<<"$out"); then
        echo "$(basename "$patch" .patch): $found"
    else
        echo "$(basename "$patch" .patch): not found, or the patch is stale:"
        tail -n 5 <<<"$out"
        failed=1
    fi
    git apply --reverse "$patch"
done
exit "$failed"
