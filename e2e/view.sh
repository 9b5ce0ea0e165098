#!/usr/bin/env bash
# The page of `kcl-helper view` in headless chromium: lanes, clicks, search, keys, 100,000 messages, hostile
# texts, both colour schemes, 400 px. Needs chromium, node and npm, which it installs by Debian's names.
# Usage: e2e/view.sh [FOLDER]. The pictures that it takes stay in FOLDER, by default target/e2e/view.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 3
.ci/install chromium chromium || exit 3
.ci/install node nodejs || exit 3
.ci/install npm npm || exit 3
nice cargo build -q -p kcl-helper || exit 1
helper=${CARGO_TARGET_DIR:-$PWD/target}/debug/kcl-helper
pictures=${1:-$PWD/target/e2e/view}
mkdir -p "$pictures"
# The lock file has each package's checksum. No script of a package runs, so no browser is downloaded.
npm --prefix e2e/view ci --ignore-scripts --no-audit --no-fund --silent || exit 3
HELPER=$helper PICTURES=$pictures CHROMIUM=$(command -v chromium) node e2e/view/drive.mjs
