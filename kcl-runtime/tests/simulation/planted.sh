#!/usr/bin/env bash
# Plants the bugs of planted/, which the simulation must find.
set -euo pipefail
export SIMULATION_LIVES=100000
exec "$(dirname "${BASH_SOURCE[0]}")/../../../fixtures/planted.sh" kcl-runtime/tests/simulation/planted \
    '^life [0-9]* failed, after ' -p kcl-runtime --test simulation
