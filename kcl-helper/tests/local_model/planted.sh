#!/usr/bin/env bash
# Plants the bugs of planted/, which the model test of `local` must find.
set -euo pipefail
export PROPTEST_CASES=${PROPTEST_CASES:-2000}
exec "$(dirname "${BASH_SOURCE[0]}")/../../../fixtures/planted.sh" kcl-helper/tests/local_model/planted \
    '^sequence [0-9]* failed: ' -p kcl-helper --test local_model
