#!/usr/bin/env bash
# The full build and link of the code for NVIDIA cards, on a machine with neither a card nor a toolkit.
#
#   tests/cuda/full-build.sh [FEATURES]      default: cuda
#
# Needs Python 3 with venv, a C compiler and the Rust toolchain; minutes and 3 GB below DIAPASON_CUDA (default: below the
# user's cache folder). The toolkit is put together from NVIDIA's own Python packages; of the driver, which comes with
# a card alone, there is a library to link against whose every function answers "not initialized". The program is left
# in target/cuda/release. That it starts there and says that there is no card is the last thing this shows.
set -euo pipefail
cd "$(dirname "$0")/../.."
features=${1:-cuda}
home=${DIAPASON_CUDA:-${XDG_CACHE_HOME:-$HOME/.cache}/diapason/cuda}
release=13.0

toolkit() {
    python3 -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --no-deps "nvidia-cuda-nvcc==$release.*" "nvidia-cuda-crt==$release.*" \
        "nvidia-nvvm==$release.*" "nvidia-cuda-runtime==$release.*" "nvidia-cuda-cccl==$release.*" \
        "nvidia-cublas==$release.*" "nvidia-cuda-nvrtc==$release.*" "nvidia-curand==10.4.0.*" nvidia-nccl-cu13
    local packages
    packages=$(echo "$home"/venv/lib/python3*/site-packages/nvidia)
    # The linker looks for names without a version, which the packages leave out.
    for library in "$packages"/cu13/lib/lib*.so.* "$packages"/nccl/lib/libnccl.so.*; do
        local name
        name=$(basename "$library")
        ln -sf "$library" "$packages/cu13/lib/${name%%.so.*}.so"
        # One folder for all of them, also when the program is loaded.
        [ "$(dirname "$library")" = "$packages/cu13/lib" ] || ln -sf "$library" "$packages/cu13/lib/$name"
    done
    ln -sfn lib "$packages/cu13/lib64"
    ln -sfn "$packages/cu13" "$home/toolkit"
}

# The functions of the driver that cudarc names, each of which fails.
driver() {
    cargo fetch --locked
    local sources
    sources=$(cargo metadata --format-version 1 --features "$features" |
        python3 -c 'import json, sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"))')
    mkdir -p "$home/stubs"
    grep -ohE 'fn cu[A-Z][A-Za-z0-9_]*' "$(dirname "$sources")/src/driver/sys/mod.rs" | sort -u |
        sed -E 's/fn (.*)/int \1(void) { return 3; }/' |
        cc -shared -fPIC -x c - -Wl,-soname,libcuda.so.1 -o "$home/stubs/libcuda.so"
    ln -sf libcuda.so "$home/stubs/libcuda.so.1"
}

[ -x "$home/toolkit/bin/nvcc" ] || toolkit
driver
unset CUDA_PATH CUDA_ROOT CUDA_TOOLKIT_ROOT_DIR CUDARC_CUDA_VERSION NVCC NVCC_CCBIN
export CUDA_HOME=$home/toolkit PATH=$home/toolkit/bin:$PATH CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
export LIBRARY_PATH=$CUDA_HOME/lib:$home/stubs CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-2}
cargo build --release --features "$features" --target-dir target/cuda

export LD_LIBRARY_PATH=$CUDA_HOME/lib:$home/stubs
program=target/cuda/release/diapason
said=$("$program" doctor) || true
grep -E '^ *ok .* feature `cuda` is on' <<<"$said" || { echo "$said" >&2; exit 1; }
grep -E '^ *problem .*cuda:0: a child computes' <<<"$said" || { echo "$said" >&2; exit 1; }
echo "$program: built with $features in $SECONDS s for compute capability $CUDA_COMPUTE_CAP, and it starts"
