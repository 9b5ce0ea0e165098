#!/usr/bin/env bash
# Measures the runtime beside the reference children: prints a table with a target for each row, and exits
# with 1 if a target is missed. Each row is one run of `kcl-helper bench` in which two children take turns,
# so that other load affects both; `-v` shows the command. Needs cargo, python3 and two cores; takes about
# two minutes. SECONDS_EACH (10) sets how long each child is measured per row.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release -q -p kcl-bench -p kcl-samples -p kcl-helper
export BENCH_CKPT_EVERY=0
verbose=${1:-}
missed=0

# Measures one row: workload, figure, target, reference child, then the options of `bench`.
row() {
    local workload=$1 figure=$2 target=$3 reference=$4
    shift 4
    local command=(target/release/kcl-helper bench -qq --format json "$@"
        --vs "target/release/$reference" -- target/release/bench_processor)
    [ "$verbose" != -v ] || echo "BENCH_CKPT_EVERY=0 ${command[*]}" >&2
    "${command[@]}" | python3 -c '
import json, statistics, sys

workload, figure, target, reference = sys.argv[1:]
report = json.load(sys.stdin)
ours, theirs = report["commands"]
median = statistics.median
MIB = 2**20
start_up = lambda child: median(child["startUpNanos"])
value, details = {
    "throughput": lambda: (
        report["ratio"]["median"],
        f"""± {report["ratio"]["standardDeviation"]:.2f} of {reference}; CPU per record """
        f"""{ours["cpuNanosPerRecord"]:.0f} and {theirs["cpuNanosPerRecord"]:.0f} ns""",
    ),
    "p50": lambda: (
        ours["latency"]["p50"] / theirs["latency"]["p50"],
        f"""of {reference}; {ours["latency"]["p50"] / 1e3:.2f} and """
        f"""{theirs["latency"]["p50"] / 1e3:.2f} µs""",
    ),
    "peak": lambda: (
        ours["busy"]["peakBytes"] / report["options"]["lineBytes"],
        f"""of the line; {ours["busy"]["peakBytes"] / MIB:.1f} MiB""",
    ),
    "idle": lambda: (
        ours["idle"]["rssBytes"] / MIB,
        f"""MiB; {ours["idle"]["pssBytes"] / MIB:.2f} MiB without shared pages""",
    ),
    "start-up": lambda: (
        start_up(ours) / start_up(theirs),
        f"of {reference}; {start_up(ours) / 1e6:.2f} and {start_up(theirs) / 1e6:.2f} ms",
    ),
}[figure]()
bound = float(target[2:])
is_reached = value >= bound if target.startswith(">=") else value <= bound
outcome = "reached" if is_reached else "missed"
print(f"| {workload} | {figure} | {value:.2f} {details} | {target} | {outcome} |")
sys.exit(not is_reached)
' "$workload" "$figure" "$target" "$reference" || missed=1
}

turns=(--turns 10 --duration "${SECONDS_EACH:-10}s")
one_core=("${turns[@]}" --cpus 0)
full=(--batch 10000 --size 1KiB)
small=(--batch 500 --size 100B)
large=(--batch 10 --size 1MiB)
single=(--batch 1 --size 100B)
started=(--cpus 0 --turns 1 --batches 100 --warmup 0s --starts 300)

echo "| workload | figure | measured | target | |"
echo "| --- | --- | --- | --- | --- |"
row "10,000 x 1 KiB, one core" throughput ">=0.90" simd_limit "${full[@]}" "${one_core[@]}"
row "10,000 x 1 KiB, one core" throughput ">=2.5" plain_serde "${full[@]}" "${one_core[@]}"
row "500 x 100 B, one core" throughput ">=0.70" simd_limit "${small[@]}" "${one_core[@]}"
row "500 x 100 B, one core" throughput ">=3" plain_serde "${small[@]}" "${one_core[@]}"
row "10 x 1 MiB, one core" throughput ">=0.90" simd_limit "${large[@]}" "${one_core[@]}"
row "1 x 100 B, ping-pong" p50 "<=1.05" pipe_limit "${single[@]}" "${one_core[@]}"
row "10,000 x 1 KiB, a core each" throughput ">=1.3" simd_limit "${full[@]}" "${turns[@]}" --cpus 0,1
row "10,000 x 1 KiB" peak "<=1.35" pipe_limit "${full[@]}" --turns 1 --batches 100
row "idle" idle "<=2.5" does_nothing "${single[@]}" "${started[@]}"
row "idle" start-up "<=1.2" does_nothing "${single[@]}" "${started[@]}"
exit "$missed"
