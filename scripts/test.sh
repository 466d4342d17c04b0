#!/usr/bin/env bash
# Every test: formatting, lints, units, properties, simulation, documentation, and integration with real components.
# Use: test.sh [PROFILE]   (a profile of .config/nextest.toml)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh
profile=${1:-default}
export SIM_SECONDS="${SIM_SECONDS:-20}"

step "what this machine lacks"
scripts/deps.sh test
if [ "$(id -u)" -ne 0 ]; then
    echo "not root: tests with containers will be skipped; 'sudo -E env PATH=\$PATH make test' runs them too"
fi

step "formatting"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

step "licences, sources and duplicates of dependencies"
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --log-level error check bans licenses sources
else
    echo "SKIPPED: cargo-deny is not installed here; CI installs it, and so does 'make deny'"
fi

step "building"
# The binary is what integration tests start; cargo builds it for none of them by itself.
cargo build --workspace --bins --locked

step "tests (simulation for $SIM_SECONDS s)"
ran=0
cargo nextest run --workspace --locked --profile "$profile" || ran=$?
scripts/skipped.sh "$(target_dir)/nextest/$profile/junit.xml"
[ "$ran" -eq 0 ] || die "tests failed"

step "examples in the documentation"
cargo test --workspace --locked --doc --quiet

fuzz_seconds=${FUZZ_SECONDS:-$([ -n "${CI:-}" ] && echo 20 || echo 2)}
step "fuzzing each parser for $fuzz_seconds s"
scripts/fuzz.sh "$fuzz_seconds"

step "all passed"
