# Shared by the scripts in this folder. Each begins with: source "$(dirname "${BASH_SOURCE[0]}")/lib.bash"
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=never RUST_BACKTRACE=1

step() { printf '\n== %s (%ss)\n' "$*" "$SECONDS"; }

fail() {
    echo "error: $1" >&2
    [ $# -lt 2 ] || echo "hint: $2" >&2
    exit 1
}

# Runs a command, which must be in the README.
documented() {
    grep -qxF -- "$1" README.md || fail "README.md does not show: $1"
    eval "$1"
}

check_format() {
    step "format"
    cargo fmt --all --check
    for manifest in e2e/suite/Cargo.toml kcl-samples/clicks/Cargo.toml fuzz/Cargo.toml; do
        cargo fmt --manifest-path "$manifest" --check
    done
}

check_lints() {
    step "lints"
    cargo clippy --workspace --all-targets -- -D warnings
}

check_suite_lints() {
    step "lints of the end-to-end suite and of the sample clicks"
    for manifest in e2e/suite/Cargo.toml kcl-samples/clicks/Cargo.toml; do
        CARGO_TARGET_DIR=target/e2e cargo clippy --locked --manifest-path "$manifest" --all-targets \
            -- -D warnings
    done
}

# Copies the checkout, including uncommitted changes, into a folder.
copy_checkout() {
    git ls-files -z --cached --others --exclude-standard | xargs -0 tar -cf - | tar -xf - -C "$1"
}
