#!/usr/bin/env bash
# Installs what the build needs and the machine lacks, on Debian or Ubuntu. Sourced by the other scripts.
#
# FAISS is compiled from source (cmake, a C++ compiler) and linked against BLAS (OpenBLAS); nothing else comes from the system.

need=()
command -v c++ >/dev/null || need+=(g++)
command -v cmake >/dev/null || need+=(cmake)
ldconfig -p 2>/dev/null | grep -q 'libopenblas\.so' && [ -n "$(find /usr/lib /usr/lib64 -name 'libblas.so' -print -quit 2>/dev/null)" ] ||
    need+=(libopenblas-dev)

if [ ${#need[@]} -gt 0 ]; then
    line="apt-get update && apt-get install -y ${need[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "error: missing: ${need[*]}; install them with this system's package manager" >&2
        exit 1
    elif [ "$(id -u)" = 0 ]; then
        echo "Installing ${need[*]}" >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && apt-get install -y -qq "${need[@]}" >/dev/null
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        echo "Installing ${need[*]}" >&2
        sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${need[@]}" >/dev/null
    else
        echo "error: missing: ${need[*]}; run this, then start again:" >&2
        echo "  sudo sh -c '$line'" >&2
        exit 1
    fi
fi

# FAISS asks for CMake 3.24 (Debian 12 and Ubuntu 24.04 have it).
if ! printf '3.24\n%s\n' "$(cmake --version | sed -n '1s/[^0-9]*//p')" | sort -V -C; then
    echo "error: CMake 3.24 or newer is needed, found $(cmake --version | head -1); run: python3 -m pip install --user cmake" >&2
    exit 1
fi

command -v cargo >/dev/null || { [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"; }
if ! command -v cargo >/dev/null; then
    echo "error: Rust is missing; install it from https://rustup.rs" >&2
    exit 1
fi

# fresh DIR: makes an empty work folder, in place of one that it made before; any other that holds files is refused.
fresh() {
    if [ -n "$(ls -A "$1" 2>/dev/null)" ] && [ ! -e "$1/.noso-work" ]; then
        echo "error: $1 holds files that are not of this script; choose another folder" >&2
        return 1
    fi
    rm -rf "$1" && mkdir -p "$1" && touch "$1/.noso-work"
}

# python_with VENV REQUIREMENTS: prints the Python of a virtual environment with these packages; one that was not finished is made anew.
python_with() {
    cmp -s "$2" "$1/installed" ||
        { python3 -m venv --clear "$1" && "$1/bin/pip" install -q -r "$2" && cp "$2" "$1/installed"; } >&2
    echo "$1/bin/python"
}
