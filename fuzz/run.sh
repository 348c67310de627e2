#!/bin/sh
# `make fuzz`: each fuzz target for FUZZ_SECONDS (60 if it is not set), from the corpus that is kept in fuzz/corpus/. TARGETS="..." runs some.
# The core's inputs have no memory to corrupt, because unsafe code is forbidden, so no sanitizer is needed and a stable compiler does.
# What was found lies in fuzz/artifacts/.
set -eu
cd "$(dirname "$0")/.."

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: there is no cargo-fuzz; install it: cargo install --locked cargo-fuzz@0.13.2" >&2
    exit 1
fi
for target in ${TARGETS:-$(cargo fuzz list)}; do
    echo "== $target"
    # What a run finds beyond the corpus is not kept: `cargo fuzz cmin` decides what is worth it.
    found=$(mktemp -d)
    trap 'rm -rf "$found"' EXIT
    cargo fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- -max_total_time="${FUZZ_SECONDS:-60}" -max_len=16384 -print_final_stats=1
    rm -rf "$found"
done
