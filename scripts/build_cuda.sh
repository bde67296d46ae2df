#!/usr/bin/env bash
# Builds noso for NVIDIA GPUs, on a machine that needs no GPU and no CUDA installation.
#
#     scripts/build_cuda.sh [OUTPUT]
#
# The toolkit comes from PyPI into a virtual environment. COMPUTE_CAP says for which card: 90 (H100, H200, the default), 89 (L4,
# RTX 40), 80 (A100), ... Writes the stripped program to OUTPUT (default: noso-cuda in the target directory's parent); it needs
# the driver's libcuda.so.1 to start, so it is another program than the one for the CPU. Takes about 20 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

target="${CARGO_TARGET_DIR:-target}/cuda"
mkdir -p "$target"
target="$(realpath "$target")"
output="${1:-$target/noso-cuda}"
venv="$target/toolkit"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install -q 'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-crt==13.0.*' \
    'nvidia-nvvm==13.0.*' 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cublas==13.*' nvidia-curand nvidia-cuda-cccl

cuda="$(echo "$venv"/lib/python3*/site-packages/nvidia/cu13)"
[ -x "$cuda/bin/nvcc" ] || { echo "error: no nvcc in $cuda; the toolkit's packages have changed" >&2; exit 1; }
ln -sfn lib "$cuda/lib64"
# The wheels hold libNAME.so.VERSION only; the linker looks for libNAME.so.
for library in "$cuda"/lib/lib*.so.*; do
    ln -sf "$(basename "$library")" "${library%%.so.*}.so"
done

export CUDA_HOME="$cuda" CUDA_PATH="$cuda" CUDA_ROOT="$cuda" CUDA_COMPUTE_CAP="${COMPUTE_CAP:-90}"
export PATH="$cuda/bin:$PATH" LIBRARY_PATH="$cuda/lib" LD_LIBRARY_PATH="$cuda/lib" CARGO_TARGET_DIR="$target"

# The driver's library is not on a machine without a GPU: link against a stub with its name and the symbols that are missing.
# The first link tells which; the second one is quick.
stub() {
    { printf '%s\n' "$@" | sed 's/.*/void &(void){}/'; } >"$target/stub.c"
    cc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$cuda/lib/libcuda.so" "$target/stub.c"
    ln -sf libcuda.so "$cuda/lib/libcuda.so.1"
}
stub cuInit
if ! cargo build --release --locked --features cuda --bin noso 2>"$target/link.log"; then
    mapfile -t missing < <(grep -o 'undefined reference to `cu[A-Z][A-Za-z0-9_]*' "$target/link.log" | sed 's/.*`//' | sort -u)
    if [ ${#missing[@]} -eq 0 ]; then
        tail -40 "$target/link.log" >&2
        exit 1
    fi
    stub cuInit "${missing[@]}"
    cargo build --release --locked --features cuda --bin noso
fi
strip -o "$output" "$target/release/noso"
ls -l "$output" >&2
echo "$output"
