#!/usr/bin/env bash
# Runs the samples in kcl-samples/examples under `kcl-helper local`, as their first comments show.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build -q -p kcl-helper || exit 1
cargo build -q -p kcl-samples --examples || exit 1
bin=${CARGO_TARGET_DIR:-$PWD/target}/debug
work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; fi; rm -r "$work"' EXIT
cd "$work"

passed=0 failed=0
# expect NAME PATTERN: the last run succeeded, and its output contains the pattern.
expect() {
    if [ "$status" = 0 ] && grep -q -- "$2" out; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $1 (status $status, looked for: $2)"
        cat out
    fi
}
# rehearse INPUT PROGRAM...: with two shards, from the beginning.
rehearse() {
    local input=$1
    shift
    "$bin/kcl-helper" local --reset --shards 2 --input "$input" -- "$@" >out 2>&1
    status=$?
}

seq 1000 >numbers
printf '%s\n' '{"user":"ann","cents":250}' 'no event' '{"user":"bob","cents":50}' >events

rehearse events "$bin/examples/json_events"
expect json_events "ann paid 250 cents"
cp dead-letters.jsonl out
expect "json_events' dead letter" '"data":"no event"'

rehearse numbers "$bin/examples/aggregation"
expect aggregation "100 records, 100 different words"

rehearse numbers "$bin/examples/graceful_handoff"
cat ./*.archive | sort -n | cmp - numbers
status=$?
expect graceful_handoff .

rehearse numbers "$bin/examples/async_sink"
expect async_sink "1.000\|1,000\|1000"

"$bin/examples/unix_socket" serve "$work/socket" 2>served &
server=$!
until [ -S socket ]; do sleep 0.1; done
rehearse numbers "$bin/examples/unix_socket" relay "$work/socket"
expect unix_socket "1.000\|1,000\|1000"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
