#!/usr/bin/env bash
# Runs a command with NOSO_TEST_SERVER set to the address of a real OpenAI-compatible server, llama.cpp's with a tiny random model,
# and NOSO_TEST_GGUF to the file of that model.
#
# The server comes from PyPI (about 200 MB, a few seconds) into a folder outside the clone. Where that cannot be had within five
# minutes, or NOSO_SKIP_SERVER is set, the command runs without, and the tests of a real server say that they skip.
set -euo pipefail
cd "$(dirname "$0")/.."

without() {
    echo "no real server: $1" >&2
    unset NOSO_TEST_SERVER
    shift
    exec "$@"
}

[ -z "${NOSO_TEST_SERVER:-}" ] || exec "$@"
[ -z "${NOSO_SKIP_SERVER:-}" ] || without "NOSO_SKIP_SERVER is set" "$@"
command -v python3 >/dev/null || without "python3 is missing" "$@"

packages=(xllamacpp==2026.10.11549 gguf==0.19.0)
venv="${XDG_CACHE_HOME:-$HOME/.cache}/noso/venv-serve"
if [ "$(cat "$venv/packages" 2>/dev/null)" != "${packages[*]}" ]; then
    echo "Installing ${packages[*]} into $venv" >&2
    { python3 -m venv --clear "$venv" && timeout 300 "$venv/bin/pip" install --quiet --only-binary :all: "${packages[@]}" &&
        echo "${packages[*]}" >"$venv/packages"; } || without "it cannot be installed (see above)" "$@"
fi

folder="$(mktemp -d)"
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
"$venv/bin/python" scripts/fixtures/serve_tiny.py "$folder" >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 300); do
    [ ! -e "$folder/address" ] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.2
done
if [ ! -e "$folder/address" ]; then
    tail -5 "$folder/log" >&2
    echo "error: the server did not start" >&2
    exit 1
fi
NOSO_TEST_SERVER="$(cat "$folder/address")"
NOSO_TEST_GGUF="$folder/tiny.gguf"
export NOSO_TEST_SERVER NOSO_TEST_GGUF
"$@"
