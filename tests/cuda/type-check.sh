#!/bin/sh
# Lints and type-checks the code behind the features `cuda` and `nccl` on a machine without CUDA or a GPU: the
# Rust toolchain and a POSIX shell are enough. Linking and running need the real thing.
#
# usage: tests/cuda/type-check.sh [more arguments for cargo clippy]
set -eu
cd "$(dirname "$0")/../.."

# The same path every time: the build scripts run again when CUDA_HOME changes.
home=${CARGO_TARGET_DIR:-$PWD/target}/cuda-stand-in
mkdir -p "$home/bin"
cp tests/cuda/fake-nvcc "$home/bin/nvcc"
chmod +x "$home/bin/nvcc"

# A toolkit of this machine must not be found in its place.
unset CUDA_PATH CUDA_ROOT CUDA_TOOLKIT_ROOT_DIR CUDARC_CUDA_VERSION NVCC_CCBIN
export CUDA_HOME="$home" NVCC="$home/bin/nvcc" PATH="$home/bin:$PATH" CUDA_COMPUTE_CAP=90

# A real build in the same target folder must never take up the empty kernels. Cargo keeps the
# output of a build script by the package's profile among others, so candle-kernels gets another
# profile here than anywhere else.
profile='profile.release.package.candle-kernels.codegen-units=3'

# `nccl` contains `cuda`; without it a few lines of the library read otherwise.
cargo clippy --release --features cuda --lib --config "$profile" "$@" -- -D warnings
exec cargo clippy --release --features nccl --all-targets --config "$profile" "$@" -- -D warnings
