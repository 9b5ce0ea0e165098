#!/usr/bin/env bash
# Compares the throughput of `local` with that of `bench`: the same child and cores, 2 shards, 1000 records
# per batch, in alternating pairs. Prints a line for each pair, and the medians for docs/scale.md. Needs
# cargo, jq and about 1 GB for temporary files; takes about 90 seconds.
#   PAIRS=9 CPUS=0,1 KCL_HELPER=target/release/kcl-helper bench/local.sh [SIZE…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${KCL_HELPER:-}" ]; then
    cargo build --release -q -p kcl-helper -p kcl-samples
fi
helper=${KCL_HELPER:-target/release/kcl-helper}
child=target/release/bench_processor
pairs=${PAIRS:-9}
on=(taskset -c "${CPUS:-0,1}")
sizes=("$@")
[ ${#sizes[@]} -gt 0 ] || sizes=(100 1024)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

for size in "${sizes[@]}"; do
    # Enough lines of base64 for a run of more than a second.
    bytes=$((size < 1000 ? 300000000 : 900000000))
    head -c $((bytes * 3 / 4)) /dev/urandom | base64 -w "$size" | head -n $((bytes / size)) >"$folder/input"
    sync
    for ((pair = 1; pair <= pairs; pair++)); do
        bench=$("${on[@]}" "$helper" bench --batch 1000 --size "${size}B" --shards 2 --duration 1500ms \
            --warmup 500ms --format json -q -- "$child" |
            jq '.commands[0].recordsPerSecond | floor')
        local=$("${on[@]}" "$helper" local --reset --state "$folder/state" --shards 2 -q -i "$folder/input" \
            -- "$child" | awk '$1 == "total" { gsub(",", ""); print $6 }')
        awk -v size="$size" -v a="$local" -v b="$bench" \
            'BEGIN { printf "%d B: local %d k/s, bench %d k/s, ratio %.3f\n", size, a / 1000, b / 1000, a / b }'
    done | tee "$folder/pairs"
    awk '{ print $4 }' "$folder/pairs" | median | sed "s/^/$size B: median of local, k records\/s: /"
    awk '{ print $7 }' "$folder/pairs" | median | sed "s/^/$size B: median of bench, k records\/s: /"
    awk '{ print $10 }' "$folder/pairs" | median | sed "s/^/$size B: median of the ratios: /"
done
