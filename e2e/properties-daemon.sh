#!/usr/bin/env bash
# Compares `kcl-helper check` with the real daemon's configurator: every known key with some 90
# values, and every example of `check` with each of its hints applied. Both must agree on whether the
# daemon stops, and on the values that it uses.
# Needs Java 17. Usage: e2e/properties-daemon.sh [JARS_FOLDER [KCL_VERSION]]
# Without a folder, it fetches the jars of the default version as users do.
set -euo pipefail
export LC_ALL=C
jars=${1:+$(cd "$1" && pwd)}
version=${2:-3.1.3}
cd "$(dirname "$0")/.."

cargo build --quiet --package kcl-helper
helper=$(pwd)/${CARGO_TARGET_DIR:-target}/debug/kcl-helper
jars=${jars:-$("$helper" jars fetch --kcl-version "$version" --no-archive)}
work=$(mktemp -d)
trap 'status=$?; [ "$status" -eq 0 ] || tail -5 "$work/log"; rm -rf "$work"; exit "$status"' EXIT
mkdir "$work/files" "$work/examples"
java=(java -Xmx1g -cp "$jars/*" e2e/properties/Daemon.java)

# Neither side may see the AWS settings of this machine.
clean=(env -i "PATH=$PATH" "HOME=$work" AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true)
echo "executableName = sh" > "$work/empty.properties"
"${clean[@]}" "$helper" check -qq --kcl-version "$version" --effective "$work/empty.properties" |
    tail -n +2 | cut -d' ' -f1 > "$work/keys" || true
"${clean[@]}" "${java[@]}" generate "$work/files" "$work/keys" 2> "$work/log"
cp kcl-helper/tests/check/*.properties "$work/examples/"
"${clean[@]}" "$helper" dump-hints --kcl-version "$version" "$work/examples" "$work/files"
judge() { "${clean[@]}" "$helper" check -qq --kcl-version "$version" --format json "$@" "$work"/files/*; }
judge > "$work/findings" || true
judge --effective > "$work/effective" || true
"${clean[@]}" "${java[@]}" compare "$work/files" "$work/findings" "$work/effective" 2>> "$work/log"
