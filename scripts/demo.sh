#!/usr/bin/env bash
# Builds Noso with the shipped engine alone and codes an example text.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

cargo build --release --no-default-features --locked
noso="${CARGO_TARGET_DIR:-target}/release/noso"

"$noso" code "ИБС. Стенокардия напряжения. ГБ 3 ст, риск ССО 4. СД 2 типа, ожирение 1 ст."
echo "Code your own text with: $noso code 'TEXT'" >&2
