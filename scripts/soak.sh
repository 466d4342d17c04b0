#!/usr/bin/env bash
# What takes hours: the simulation by the hundred thousand seeds and at its full size, every test in its long form, ten
# thousand real tasks, and long fuzzing.
# Use: soak.sh [seeds|tests|fuzz]…     all of them when none is named
#   SIM_SEEDS=100000   seeds of the simulation; SIM_FIRST=0 is the first
#   SIM_CONTENDING     seeds with masters that contend, as many as SIM_SEEDS
#   TASKS=10000        tasks through one agent
#   TERMS=50           leaders that lose their sessions, one after another
#   FUZZ_SECONDS=300   for each fuzz target
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

# Each seed by itself says how far it is, so its output is not held back. Optimised, but with every check of a test.
seeds() {
    step "the simulation: ${SIM_SEEDS:=100000} seeds"
    SIM_SEEDS="$SIM_SEEDS" SIM_AUDIT="${SIM_AUDIT:-7}" cargo nextest run --profile soak --cargo-profile soak --no-capture \
        -p simulation -E 'test(=seeds::seeds)'
    step "the simulation: ${SIM_CONTENDING:=$SIM_SEEDS} seeds with masters that contend"
    SIM_SEEDS="$SIM_CONTENDING" SIM_AUDIT="${SIM_AUDIT:-7}" cargo nextest run --profile soak --cargo-profile soak --no-capture \
        -p simulation -E 'test(=seeds::whatever_happens_to_masters_and_ensemble_no_task_is_lost)'
    step "the simulation: as many elections as seeds"
    SIM_ELECTIONS="$SIM_SEEDS" cargo nextest run --profile soak --cargo-profile soak --no-capture \
        -p simulation -E 'test(/^election::/)'
    step "the simulation: 50,000 agents and 500,000 tasks"
    SOAK=1 cargo nextest run --profile soak --cargo-profile soak --no-capture -p simulation -E 'test(/^large::/)'
}

tests() {
    step "building"
    cargo build --workspace --bins --locked
    step "every test in its long form, ${TASKS:=10000} tasks through one agent"
    local ran=0
    SOAK=1 TASKS="$TASKS" TERMS="${TERMS:-50}" cargo nextest run --workspace --locked --profile soak -E 'not test(/^large::|^election::/) and not test(/^seeds::(seeds|whatever)/)' || ran=$?
    scripts/skipped.sh "$(target_dir)/nextest/soak/junit.xml"
    [ "$ran" -eq 0 ] || die "tests failed"
}

fuzz() {
    step "fuzzing each parser for ${FUZZ_SECONDS:=300} s"
    scripts/fuzz.sh "$FUZZ_SECONDS"
}

scripts/deps.sh test
if [ $# -eq 0 ]; then set -- seeds tests fuzz; fi
for part in "$@"; do
    case "$part" in
    seeds | tests | fuzz) "$part" ;;
    *) die "use: $0 [seeds|tests|fuzz]…" ;;
    esac
done
step "all passed"
