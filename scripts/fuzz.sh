#!/usr/bin/env bash
# Fuzzes every parser that reads from outside, by coverage, with libFuzzer on stable Rust.
# Use: fuzz.sh SECONDS [TARGET…]     each target for so long, as many at once as there are processors
#      fuzz.sh replay TARGET FILE…   runs inputs once, to see a crash again
#      fuzz.sh smaller TARGET FILE   makes a crash smaller
#      fuzz.sh list                  the targets
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

MAX_INPUT=16384
RSS_MB=1024
TIMEOUT=10
found=$(target_dir)/fuzz-found
grown=$(target_dir)/fuzz-corpus

targets() {
    sed -n 's/^ *target("\([a-z_]*\)".*/\1/p' fuzz/src/lib.rs
}

# Our own crates with coverage, those with the parsers optimised; everything else is as every build has it.
build() {
    local options=() crate
    for crate in wire model serving images fuzz; do
        options+=(--config "profile.dev.package.$crate.opt-level=2")
    done
    RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/rustc.sh \
        cargo build --quiet --locked --workspace --features fuzz/engine --bin fuzz "${options[@]}"
    # The next ordinary build of the workspace never sees this one: cargo keeps what a wrapper made apart.
    cp "$(target_dir)/debug/fuzz" "$(target_dir)/tepui-fuzz"
}

fuzz() {
    FUZZ_TARGET=$1 "$(target_dir)/tepui-fuzz" -max_len="$MAX_INPUT" -rss_limit_mb="$RSS_MB" -timeout="$TIMEOUT" \
        -artifact_prefix="$found/$1-" "${@:2}"
}

# One target for so long; prints its line, and what to do when it found something.
run_one() {
    local target=$1 seconds=$2 log=$grown/$1.log code=0
    mkdir -p "$grown/$target"
    fuzz "$target" -max_total_time="$seconds" -print_final_stats=1 "$grown/$target" "fuzz/corpus/$target" \
        >"$log" 2>&1 </dev/null || code=$?
    local runs coverage
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 || true)
    printf '%-14s %10s inputs  %s\n' "$target" "${runs:-?}" "${coverage:-no coverage}"
    [ "$code" -ne 0 ] || return 0
    grep -E 'panicked at|^(assertion|  left|  right)|ERROR|SUMMARY' -A 2 "$log" | head -n 20 >&2
    local crash
    crash=$(grep -o "$found/[^ ]*" "$log" | tail -n 1 || true)
    printf 'FOUND by %s: see it again with\n  scripts/fuzz.sh replay %s %s\nmake it smaller with scripts/fuzz.sh smaller; once fixed, put it into fuzz/corpus/%s\n' \
        "$target" "$target" "${crash:-(no input was kept)}" "$target" >&2
    return 1
}

# The unpacker writes files; in memory that takes microseconds.
if [ -z "${FUZZ_SCRATCH:-}" ]; then
    FUZZ_SCRATCH=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)" tepui-fuzz.XXXXXX)
    trap 'rm -rf "$FUZZ_SCRATCH"' EXIT
    export FUZZ_SCRATCH TMPDIR=$FUZZ_SCRATCH
fi

case "${1:-}" in
list)
    targets
    exit
    ;;
replay)
    build
    fuzz "$2" "${@:3}"
    exit
    ;;
smaller)
    build
    fuzz "$2" -minimize_crash=1 -max_total_time=60 "$3"
    exit
    ;;
one)
    run_one "$2" "$3"
    exit
    ;;
'' | *[!0-9]*) die "use: $0 SECONDS [TARGET…] | replay TARGET FILE… | smaller TARGET FILE | list" ;;
esac

seconds=$1
shift
mkdir -p "$found" "$grown"
build
if [ $# -eq 0 ]; then mapfile -t all < <(targets); else all=("$@"); fi
printf '%s\n' "${all[@]}" | xargs -P "$(nproc)" -I{} "$0" one {} "$seconds" ||
    die "at least one target found something; its input is in $found"
