#!/usr/bin/env bash
# kclpy's command line, beside the real amazon_kclpy_helper.py of three versions, and the flags of our own
# command line under what JAVA_TOOL_OPTIONS may set.
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
