#!/usr/bin/env bash
# Compares our reader of .properties files with java.util.Properties over generated files.
# Needs Java 17. Usage: e2e/properties.sh [COUNT [SEED]]
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

count=${1:-24000}
seed=${2:-1}
cargo build --quiet --package kcl-helper
helper=${CARGO_TARGET_DIR:-target}/debug/kcl-helper

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/files"
java e2e/properties/Jdk.java generate "$work/files" "$count" "$seed"
java e2e/properties/Jdk.java load "$work/files" > "$work/jdk"
"$helper" dump-properties "$work/files" > "$work/ours"

refused=$(grep -c ' refused$' "$work/jdk" || true)
echo "$count files, seed $seed; the JDK rejects $refused of them"
# Each line is a file; files whose lines differ are failures.
failed=$(comm -23 "$work/jdk" "$work/ours" | tee "$work/differ" | wc -l)
passed=$((count - failed))
if [ "$failed" -gt 0 ]; then
    kept=$(mktemp -d)
    cut -d' ' -f1 "$work/differ" | head -20 | while read -r name; do
        cp "$work/files/$name" "$kept/"
        grep -h "^$name " "$work/jdk" "$work/ours"
    done
    echo "the first of them are kept in $kept"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$(wc -l < "$work/jdk")" -eq "$count" ]
