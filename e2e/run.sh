#!/usr/bin/env bash
# Tests `kcl-helper run` with the real java and the real daemon, but without AWS: nothing listens on the port of
# its endpoint. Needs bash, mvn (or jars in the cache), java and unshare.
# KCL_HELPER names the program to test; KCL_E2E_JAVAS names further javas to start the daemon with.
source "$(dirname "$0")/launch.bash"
export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x
cd "$work" || exit 3

cat >app.properties <<'END'
executableName = cat
streamName = words
applicationName = E2e
AwsCredentialsProvider = DefaultCredentialsProvider
regionName = us-east-1
initialPositionInStream = TRIM_HORIZON
shutdownGraceMillis = 2000
END

check "the jars are here" "$helper" jars fetch

# starts_and_stops NAME ARGUMENTS…: sends SIGTERM once the daemon tries to reach AWS.
starts_and_stops() {
  local log=$work/$1.log status=0
  shift
  "$helper" run app.properties --offline --endpoint-url http://127.0.0.1:1 "$@" >"$log" 2>&1 &
  local pid=$!
  pids+=("$pid")
  waits_for "$log" "Initializing LeaseCoordinator attempt 1" || return
  kill -TERM "$pid"
  wait "$pid" || status=$?
  has "$log" "SIGTERM: asking the daemon to stop" && has "$log" "stopped in"
  [ "$status" = 0 ] || { echo "status $status"; cat "$log"; false; }
}
check "3.1.3 starts and stops, and 143 is a clean stop" starts_and_stops lean -v
check "with the plain JVM, too" starts_and_stops plain --plain-jvm
check "with another collector from the environment" \
  env JAVA_TOOL_OPTIONS=-XX:+UseG1GC bash -c "$(declare -f starts_and_stops waits_for has)
    helper='$helper' work='$work' pids=(); starts_and_stops g1"
check "with a collector of the user's" starts_and_stops parallel --jvm-arg=-XX:+UseParallelGC

archived() {
  starts_and_stops archived "--jvm-arg=-Xlog:class+load:file=$work/classes" || return
  local shared all
  shared=$(grep -c 'source: shared objects file' "$work/classes")
  all=$(grep -c 'source:' "$work/classes")
  echo "$shared of $all classes are from the archive"
  grep 'multilang.MultiLangDaemon source:' "$work/classes" | grep -q 'shared objects file' &&
    [ $((shared * 10)) -gt $((all * 8)) ]
}
check "most classes come from the archive" archived

backticks() {
  local java
  java=$(command -v java)
  # shellcheck disable=SC2006
  timeout 60 `"$helper" print-command --java "$java" --properties nothing.properties` \
    >"$work/backticks.log" 2>&1
  has "$work/backticks.log" "Unable to find property file"
}
check "print-command's line runs in back-ticks" backticks

for java in ${KCL_E2E_JAVAS:-}; do
  another() {
    "$helper" jars fetch --java "$java" && starts_and_stops another --java "$java" -v &&
      has "$work/another.log" "-XX:SharedArchiveFile="
  }
  check "$java" another
done

# A fake java leaves orphans, which process 1 of a container must reap.
cat >orphans <<'END'
#!/bin/sh
[ "$1" = -version ] && { echo 'openjdk version "17.0.1"' >&2; exit 0; }
for _ in 1 2 3; do sh -c 'sleep 0.1 & exit 0'; done
sleep 1
echo "zombies: $(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l)"
END
chmod +x orphans
reaps() {
  unshare --map-root-user --pid --fork --mount-proc "$helper" run app.properties --offline \
    --java ./orphans >"$work/pid1.log" 2>&1
  has "$work/pid1.log" "zombies: 0"
}
check "as process 1 it reaps what others leave" reaps
finish
