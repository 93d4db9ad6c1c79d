#!/usr/bin/env bash
# The model's unit tests under AddressSanitizer: reads and writes outside of a block, and of freed ones.
#
#   tests/sanitize.sh [FILTER ...]        default: model::
#
# For the slices, raw pointers and vector loads of src/model/kernels. The toolchain is the one of every
# day: RUSTC_BOOTSTRAP lets it take the flag, which only sets what code is generated. The first run
# builds all dependencies again, with the sanitizer, into target/sanitize. Random cases are fewer than
# in plain test runs, as each takes several times as long; PROPTEST_CASES sets how many.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-gnu
# A processor's own instructions are chosen at run time, so all that this machine has are sanitized.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/sanitize}"
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only
export PROPTEST_CASES="${PROPTEST_CASES:-8}"
if [ $# -eq 0 ]; then
    set -- model::
fi
cargo test --release --target "$target" --lib -- "$@"
