#!/usr/bin/env bash
# Measures how many children one machine can run: 1, 10, 100 and 500 of ours, idle and busy, and 1, 10 and
# 100 of Amazon's library for Node.js, which it installs into a temporary folder. Prints the tables of
# docs/scale.md. Needs cargo, jq and npm; takes about three minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release -q -p kcl-helper -p kcl-samples
helper=$PWD/target/release/kcl-helper

# Prints one row: the number of children, then figures of the JSON report. `idle` is before the first batch.
row() {
    local shards=$1
    shift
    "$helper" bench --format json -q --shards "$shards" --duration "${SECONDS_EACH:-5}s" --warmup 1s "$@" |
        jq -r --argjson n "$shards" '
            def mib: . / 1048576 * 10 | round / 10;
            .commands[0] | [
                $n,
                (.startUpNanos | sort | .[length / 2 | floor] / 1e6 * 10 | round / 10),
                (.idle.pssBytes / $n | mib), (.idle.rssBytes / $n | mib), (.idle.pssBytes | mib),
                (.busy.pssBytes / $n | mib), (.busy.peakBytes | mib), (.busy.pssBytes | mib),
                (.recordsPerSecond / 1000 | round), (.cpuNanosPerRecord / 10 | round / 100),
                (.latency.p50 / 1e6 * 100 | round / 100), (.latency.p99 / 1e6 * 100 | round / 100)
            ] | "| " + (map(tostring) | join(" | ")) + " |"'
}

title() {
    echo
    echo "**$1**"
    echo
    echo "| children | start-up ms | idle PSS | idle RSS | idle PSS, all | busy PSS | peak RSS | busy PSS, all | k records/s | CPU µs/record | p50 ms | p99 ms |"
    echo "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
}

small=(--batch 50 --size 100B)
large=(--batch 500 --size 1KiB)
ours=(-- target/release/bench_processor)

title "kcl-runtime, 50 records of 100 B a batch"
for shards in 1 10 100 500; do row "$shards" "${small[@]}" "${ours[@]}"; done
title "kcl-runtime, 500 records of 1 KiB a batch"
for shards in 1 10 100 500; do row "$shards" "${large[@]}" "${ours[@]}"; done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --prefix "$folder" --silent --no-audit --no-fund aws-kcl >&2
cat >"$folder/app.js" <<'JS'
const kcl = require('aws-kcl');
const sums = { records: 0, bytes: 0, edge: 0 };
kcl({
  initialize(input, done) { done(); },
  processRecords(input, done) {
    for (const record of input.records || []) {
      const data = Buffer.from(record.data, 'base64');
      sums.records += 1;
      sums.bytes += data.length;
      if (data.length > 0) sums.edge += data[0] + data[data.length - 1];
    }
    done();
  },
  leaseLost(input, done) { done(); },
  shardEnded(input, done) { input.checkpointer.checkpoint(() => done()); },
  shutdownRequested(input, done) { done(); },
}).run();
process.on('exit', () => {
  console.error(`BENCH records=${sums.records} bytes=${sums.bytes} edge=${sums.edge}`);
});
JS
title "aws-kcl for Node.js $(node --version), 50 records of 100 B a batch"
for shards in 1 10 100; do row "$shards" "${small[@]}" -- node "$folder/app.js"; done
