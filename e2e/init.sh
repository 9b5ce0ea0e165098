#!/usr/bin/env bash
# Checks that kcl-helper from `cargo install` works in any folder: `--sample` with a fake java, and `init`, whose
# files other tools must be able to read. Needs bash, cargo and mvn (or jars in the cache).
source "$(dirname "$0")/launch.bash"
export XDG_DATA_HOME=$work/data
unset JAVA_HOME
mkdir "$work/empty" && cd "$work/empty" || exit 3
installed=$work/installed/bin/kcl-helper

check "cargo install" cargo install --debug --quiet --locked --path "$root/kcl-helper" \
  --target-dir "$root/target" --root "$work/installed"
check "the jars are here" "$installed" jars fetch

# Prints the properties file that it gets, and the child's first answer.
cat >java <<'END'
#!/bin/sh
[ "$1" = -version ] && { echo 'openjdk version "17.0.1"' >&2; exit 0; }
for word; do properties=$word; done
cat "$properties"
program=$(sed -n 's/^executableName *= *//p' "$properties")
printf '%s\n' '{"action":"initialize","shardId":"shardId-0"}' | $program
END
chmod +x java

sample_runs() {
  "$installed" run --sample --offline --java ./java >"$work/sample.log" 2>&1 || { cat "$work/sample.log"; false; } &&
    has "$work/sample.log" "$installed sample-child" &&
    has "$work/sample.log" '{"action":"status","responseFor":"initialize"}' &&
    [ -z "$(ls | grep -v '^java$')" ]
}
check "run --sample starts the program's own child, and leaves nothing here" sample_runs

sample_command() {
  local line
  line=$("$installed" print-command --java ./java --sample) && echo "$line" &&
    $line | grep -qF '{"action":"status","responseFor":"initialize"}'
}
check "print-command --sample prints a line that runs" sample_command

sample_is_clean() {
  local file
  file=$(find "$XDG_DATA_HOME" -name '*.properties') && "$installed" check --deny-warnings "$file"
}
check "the file that it wrote checks clean" \
  env -u AWS_CA_BUNDLE -u HTTPS_PROXY -u https_proxy AWS_REGION=us-east-1 bash -c \
  "$(declare -f sample_is_clean); installed='$installed'; sample_is_clean"

check "init" "$installed" init words-app --stream words --region us-east-1 \
  --application WordsApp --no-interactive
unit_is_right() {
  command -v systemd-analyze >/dev/null || { echo "no systemd-analyze here"; return 0; }
  sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' words-app/words-app.service >words.service
  systemd-analyze verify ./words.service
}
check "systemd takes the unit" unit_is_right
check "JSON is what the policy is" python3 -m json.tool words-app/iam-policy.json
finish
