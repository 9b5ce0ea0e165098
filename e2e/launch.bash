# Shared by jars.sh and run.sh: a temporary folder, and the counts of passed and failed checks.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
helper=${KCL_HELPER:-$root/target/debug/kcl-helper}
work=$(mktemp -d)
passed=0 failed=0 pids=()

clean_up() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  rm -rf "$work"
}
trap clean_up EXIT

# check NAME COMMAND…: the command must succeed.
check() {
  local name=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $name"
  else
    failed=$((failed + 1))
    echo "FAIL  $name"
    sed 's/^/      /' "$work/check.log" | tail -n 20
  fi
}

# has FILE TEXT: the file must contain the text.
has() { grep -qF -- "$2" "$1" || { echo "no \`$2\` in:" && cat "$1"; false; }; }

# ends_with STATUS COMMAND…: the command must exit with this status.
ends_with() {
  local expected=$1 status=0
  shift
  "$@" || status=$?
  [ "$status" = "$expected" ] || { echo "status $status, expected $expected"; false; }
}

# waits_for FILE TEXT: waits up to half a minute until the file contains the text.
waits_for() {
  for _ in $(seq 300); do
    grep -qF -- "$2" "$1" 2>/dev/null && return
    sleep 0.1
  done
  has "$1" "$2"
}

finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}
