#!/usr/bin/env bash
# Trains every model of the shipped engine from an annotated corpus.
#
#     scripts/train.sh CORPUS_DIR [OUTPUT_DIR]
#
# Without OUTPUT_DIR it rewrites the shipped files (models/default, indexes/default); on all 3,000 records of the RuCCoD
# training folder it gives the files that are tracked, byte for byte.
set -euo pipefail
corpus="$(realpath "${1:?usage: scripts/train.sh CORPUS_DIR [OUTPUT_DIR]}")"
output="$(realpath -m "${2:-$(dirname "$0")/..}")"
cd "$(dirname "$0")/.."
. scripts/setup.sh

cargo build --release --locked
noso="${CARGO_TARGET_DIR:-target}/release/noso"

"$noso" index build --mentions "$corpus" --drop-mention-text --output "$output/indexes/default"
"$noso" train nearest --corpus "$corpus" --index "$output/indexes/default" --output "$output/models/default/nearest.bin"
"$noso" train crf --corpus "$corpus" --output "$output/models/default/ner.bin"
