#!/bin/sh
# What scripts/fuzz.sh lets cargo call in place of rustc for our own crates: adds what tells libFuzzer which code ran
# and what was compared with what. Stable Rust has it; the sanitizers proper it has not.
case " $* " in
*" --crate-name build_script_"* | *" --crate-type proc-macro "* | *" --print"*) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
