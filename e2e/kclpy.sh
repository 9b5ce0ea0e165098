#!/usr/bin/env bash
# kclpy's command line, beside the real amazon_kclpy_helper.py of three versions; their sample processors
# under `local` and `bench`; and the flags of our own command line under what JAVA_TOOL_OPTIONS may set.
# Needs bash, python3 with pip, java and the network. KCL_HELPER names the program to test.
# FULL=1 compares twenty times as many command lines.
source "$(dirname "$0")/launch.bash"
export KCL_HELPER_CACHE=$work/cache

lines=1000
[ "${FULL:-}" != 1 ] || lines=20000
# kclpy's version, and the daemon with a lock that is nearest to the one that it ships.
for pair in 3.2.0:3.1.3 2.1.5:2.5.4 1.5.1:1.15.3; do
  kclpy=${pair%:*} daemon=${pair#*:}
  compare() {
    python3 -m pip download --quiet --no-deps --dest "$work/sdist" "amazon_kclpy==$kclpy"
    tar -xzf "$work/sdist/amazon_kclpy-$kclpy.tar.gz" -C "$work"
    KCL_HELPER_KCL_VERSION=$daemon HOME=$work/home python3 "$root/e2e/kclpy/compare.py" \
      "$work/amazon_kclpy-$kclpy" "$helper" "$daemon" "$lines"
  }
  check "kclpy $kclpy: $lines command lines" compare
  tail -n 1 "$work/check.log"
done

seq 1 2500 >"$work/input"
# plays KCLPY LOCAL_ARGUMENTS…: the sample of this version, under `local`.
plays() {
  local kclpy=$1
  shift
  PYTHONPATH=$work/amazon_kclpy-$kclpy "$helper" local --reset --state "$work/state" -i "$work/input" "$@" \
    -- python3 "$work/amazon_kclpy-$kclpy/samples/sample_kclpy_app.py" 2>&1
}
for kclpy in 3.2.0 2.1.5; do
  check "the sample of kclpy $kclpy" plays $kclpy
  check "and at the end of the shard" plays $kclpy --at-end shard-ended
done
check "the sample of kclpy 1.5.1, by the protocol of 1.x" plays 1.5.1 --protocol 1
check "and at the end of the shard" plays 1.5.1 --protocol 1 --at-end shard-ended
advised() {
  ends_with 1 plays "$1" "${@:3}" >"$work/out"
  has "$work/out" "$2"
}
check "without --protocol 1 it is recognised" \
  advised 1.5.1 "if the processor's library is for KCL 1.x, which has no leaseLost, add --protocol 1"
check "and so is a newer one with it" \
  advised 3.2.0 "if the processor's library is for KCL 2.x or 3.x, leave out --protocol 1" --protocol 1

measures() {
  PYTHONPATH=$work/amazon_kclpy-1.5.1 "$helper" bench --protocol 1 --warmup 0s --batches 20 --turns 2 \
    -- python3 "$work/amazon_kclpy-1.5.1/samples/sample_kclpy_app.py"
}
check "bench measures kclpy 1.5.1" measures

# The flags that kcl-helper adds must not stop a JVM that already has a collector or a heap.
starts_with() {
  local words
  export JAVA_TOOL_OPTIONS=$1
  mapfile -t words < <("$helper" -qq print-command -j java -p /none --format json \
    | python3 -c 'import json, sys; print("\n".join(json.load(sys.stdin)))')
  # Up to the class path; then no program, but what the JVM makes of its flags.
  local flags=()
  for word in "${words[@]}"; do
    [ "$word" != -cp ] || break
    flags+=("$word")
  done
  "${flags[@]}" -version
}
for options in "" -XX:+UseG1GC -XX:+UseParallelGC -XX:+UseZGC -Xmx150m -Xmx64m -Xms512m "-Xms1g -Xmx1g" \
  -XX:MaxRAMPercentage=50 "-XX:+UseSerialGC -Xmn16m"; do
  check "a JVM starts with JAVA_TOOL_OPTIONS='$options'" starts_with "$options"
done

finish
