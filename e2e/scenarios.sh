#!/usr/bin/env bash
# Runs end-to-end scenarios with the real daemon, emulators of Kinesis and DynamoDB Local: see e2e/suite.
# Needs cargo, java, mvn, node, npm, setpriv and the network. All arguments go to the harness:
# names of scenarios, --all (every version), --version V, --jobs N. KCL_HELPER names the program.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
helper=${KCL_HELPER:-$root/target/debug/kcl-helper}
target=$root/target/e2e
tools=$target/tools
cd "$root"

# has NAME VERSION: whether this version of the tool is installed.
stamp() { cat "$@" | sha256sum | cut -c1-16; }
has() { [ "$(cat "$tools/$1.stamp" 2>/dev/null)" = "$2" ]; }

mkdir -p "$tools"
if ! has ferrokinesis 0.7.0; then
  CARGO_TARGET_DIR=$target/ferrokinesis cargo install --quiet --locked ferrokinesis \
    --version 0.7.0 --root "$tools"
  rm -rf "$target/ferrokinesis"
  echo 0.7.0 >"$tools/ferrokinesis.stamp"
fi
lock=e2e/suite/kinesis-local
if ! has kinesis-local "$(stamp $lock/*.json)"; then
  rm -rf "$tools/kinesis-local"
  mkdir "$tools/kinesis-local"
  cp $lock/*.json "$tools/kinesis-local"
  (cd "$tools/kinesis-local" && npm ci --no-audit --no-fund --silent)
  stamp $lock/*.json >"$tools/kinesis-local.stamp"
fi
pom=e2e/suite/dynamodb-local/pom.xml
if ! has dynamodb-local "$(stamp $pom)"; then
  rm -rf "$tools/dynamodb-local"
  mvn -q -B -f $pom dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$tools/dynamodb-local"
  stamp $pom >"$tools/dynamodb-local.stamp"
fi
# Builds the tools under test that are missing; the samples are beside the helper.
cargo build --quiet --workspace --bins
for version in 1.15.3 2.2.0 2.5.4 3.1.3; do
  "$helper" jars fetch --kcl-version "$version" >/dev/null
done

CARGO_TARGET_DIR=$target cargo test --quiet --locked --manifest-path e2e/suite/Cargo.toml
CARGO_TARGET_DIR=$target cargo build --quiet --locked --manifest-path e2e/suite/Cargo.toml
exec "$target/debug/kcl-e2e" --helper "$helper" --tools "$tools" --keep "$target/failed" "$@"
