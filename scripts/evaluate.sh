#!/usr/bin/env bash
# Trains on 2,500 records of the RuCCoD training folder and measures on the other 500: the README's table.
#
#     scripts/evaluate.sh RUCCOD_TRAIN_DIR [GOLD_DIR]
#
# The other 500 are the dev split (scripts/split.sh). GOLD_DIR may hold another annotation of these records
# (brat, spans put right) to score against; without it the folder's own, repaired, is used.
set -euo pipefail
corpus="$(realpath "${1:?usage: scripts/evaluate.sh RUCCOD_TRAIN_DIR [GOLD_DIR]}")"
gold="${2:+$(realpath "$2")}"
cd "$(dirname "$0")/.."
. scripts/setup.sh

cargo build --release --locked
noso="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
work="$(dirname "$(dirname "$noso")")/evaluate"
fresh "$work"
scripts/split.sh "$corpus" "$work"

scripts/train.sh "$work/train" "$work/model" 2>"$work/train.log"
model=(--set "ner.model=$work/model/models/default/ner.bin"
    --set "retrieval.index=$work/model/indexes/default"
    --set "rerank.model=$work/model/models/default/nearest.bin")

"$noso" stages --gold "$work/dev" "${model[@]}"
"$noso" code --input "$work/dev" --input-format txt --output "$work/predicted" --output-format brat "${model[@]}"
if [ -n "$gold" ]; then
    echo && echo "Against $(basename "$(dirname "$gold")")/$(basename "$gold"), strict, then relaxed"
    "$noso" eval --gold "$gold" --predicted "$work/predicted" --bootstrap 10000
    "$noso" eval --gold "$gold" --predicted "$work/predicted" --bootstrap 10000 --relaxed
fi
