#!/usr/bin/env bash
# Tests `kcl-helper jars` with the real Maven, and with a repository of the jars that Maven has fetched.
# Needs bash, mvn, java, python3 and the network. KCL_HELPER names the program to test.
source "$(dirname "$0")/launch.bash"
export KCL_HELPER_CACHE=$work/cache
unset KCL_MVN_REPO_SEARCH_URL

fetch_with_maven() { "$helper" jars fetch --kcl-version "$1" --no-archive; }
for version in 1.15.3 2.2.0 2.5.4 3.1.3; do
  check "Maven delivers what the lock of $version names" fetch_with_maven "$version"
  check "and all of it verifies" "$helper" jars verify --kcl-version "$version"
done

warm() {
  "$helper" jars fetch --no-archive >"$work/out" 2>"$work/err"
  has "$work/err" "131 jars, 76 MB: all already present"
  [ "$(cat "$work/out")" = "$("$helper" jars path)" ]
}
check "a second fetch finds all there" warm
check "offline, too" "$helper" jars fetch --offline --no-archive

lock_another() {
  "$helper" jars fetch --kcl-version 1.15.2 --lock --no-archive
  "$helper" jars verify --kcl-version 1.15.2
  "$helper" jars list --kcl-version 1.15.2 >"$work/list"
  has "$work/list" "com.amazonaws:amazon-kinesis-client:1.15.2"
}
check "another version is resolved and locked" lock_another

# Maven's own folder has the layout of a repository.
python3 -u -m http.server 0 --bind 127.0.0.1 --directory "${MAVEN_REPO_LOCAL:-$HOME/.m2/repository}" \
  >"$work/server" 2>&1 &
pids+=($!)
waits_for "$work/server" "port "
port=$(sed -n 's/.* port \([0-9]*\).*/\1/p' "$work/server")
repository=http://127.0.0.1:$port

downloads() {
  "$helper" jars fetch --no-archive --cache "$work/$1" --repository "$repository$2"
  "$helper" jars verify --cache "$work/$1"
}
check "a repository is downloaded from without Maven" env PATH=/nowhere "$helper" jars fetch \
  --no-archive --kcl-version 1.15.3 --cache "$work/plain" --repository "$repository"
check "with a trailing slash as well" downloads slash /

repairs() {
  local folder=$work/slash/jars/3.1.3 half empty gone
  half=$(ls "$folder"/netty-buffer-*.jar) empty=$(ls "$folder"/guava-*.jar)
  gone=$(ls "$folder"/checker-qual-*.jar)
  truncate -s 1000 "$half" && : >"$empty" && rm "$gone"
  ends_with 1 "$helper" jars verify --cache "$work/slash" >"$work/out" 2>&1
  has "$work/out" "$(basename "$half") has 1000 bytes"
  has "$work/out" "$(basename "$empty") is empty"
  has "$work/out" "$(basename "$gone") is missing"
  has "$work/out" "3 of 131 jars do not match the lock"
  downloads slash ""
}
check "a half, an empty and a missing jar are named and fetched again" repairs

makes_archive() {
  "$helper" jars fetch
  ls "$("$helper" jars path)"/java-*.jsa
}
check "a class-data archive is made beside the jars" makes_archive
finish
