#!/usr/bin/env bash
# Trains the encoder of the README's tables from scratch: word pieces and masked language modelling, then BioSyn.
#
#     scripts/encoder.sh DATA_DIR OUTPUT_DIR
#
# DATA_DIR holds ruccod/train, nerel-bio and ruccon; the dev split (scripts/split.sh) is not learnt from. OUTPUT_DIR/masked is the encoder
# after masked language modelling, OUTPUT_DIR/linker after BioSyn. Takes about two hours on two cores; a run that was cut off goes on.
# NOSO=PROGRAM spares the build.
set -euo pipefail
usage="usage: scripts/encoder.sh DATA_DIR OUTPUT_DIR"
data="$(realpath "${1:?$usage}")"
output="$(realpath -m "${2:?$usage}")"
cd "$(dirname "$0")/.."
. scripts/setup.sh

if [ -z "${NOSO:-}" ]; then
    cargo build --release --no-default-features --features neural --locked
    NOSO="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
fi
mkdir -p "$output"
scripts/split.sh "$data/ruccod/train" "$output/splits"
texts=(--texts "$output/splits/train" --input-format txt)
for folder in $(find "$data/nerel-bio" "$data/ruccon" -name '*.txt' -printf '%h\n' | sort -u); do texts+=(--texts "$folder"); done

# In two parts, as it was found: twenty epochs only teach it how frequent words are.
masked() { # NAME OPTION...
    [ -e "$output/$1/config.json" ] || "$NOSO" train encoder "${texts[@]}" --resume --output "$output/$1" "${@:2}"
}
masked first --vocabulary 6000 --layers 4 --hidden 256 --heads 4 --learning-rate 5e-4 --epochs 20
masked masked --init "$output/first" --epochs 40
[ -e "$output/linker/config.json" ] || "$NOSO" train linker --encoder "$output/masked" --corpus "$output/splits/train" \
    --mentions-as-names --names-as-mentions --in-batch --temperature 0.05 --bundle 8 --learning-rate 2e-4 --epochs 2 \
    --resume --output "$output/linker"
