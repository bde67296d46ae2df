#!/usr/bin/env bash
# Prints the end-to-end table of the BERT pipeline and its mixtures on the dev split: mentions, mentions with codes, codes.
#
#     scripts/tables/bert_pipeline.sh RUCCOD_TRAIN_DIR NER_DIR ENCODER_DIR [GOLD_DIR]
#
# NER_DIR is a folder of `noso train ner`, ENCODER_DIR one of `noso train linker`, both trained without the dev split (scripts/split.sh).
# GOLD_DIR may hold another annotation of these records to score against; without it the folder's own
# is used. What is done already is kept in WORK, so a run that was cut off goes on where it was. NOSO=PROGRAM spares the build.
set -euo pipefail
usage="usage: scripts/tables/bert_pipeline.sh RUCCOD_TRAIN_DIR NER_DIR ENCODER_DIR [GOLD_DIR]"
corpus="$(realpath "${1:?$usage}")" ner="$(realpath "${2:?$usage}")" encoder="$(realpath "${3:?$usage}")"
gold="${4:+$(realpath "$4")}"
cd "$(dirname "$0")/../.."
. scripts/setup.sh

if [ -z "${NOSO:-}" ]; then
    cargo build --release --no-default-features --features neural --locked
    NOSO="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
fi
work="${WORK:-$(dirname "$(dirname "$NOSO")")/bert-pipeline}"
# Other models, other figures: what was made with earlier ones goes.
inputs="$(cat "$ner"/*.safetensors "$encoder"/*.safetensors "$NOSO" | sha256sum) $corpus"
if [ "$(cat "$work/inputs" 2>/dev/null)" != "$inputs" ]; then
    fresh "$work"
    scripts/split.sh "$corpus" "$work"
    echo "$inputs" >"$work/inputs"
fi

make() { # FILE|DIR COMMAND...: runs the command with `--output PART`, then renames
    [ -e "$1" ] && return
    echo "making $(basename "$1")" >&2
    rm -rf "$1.part"
    "${@:2}" --output "$1.part" 2>"$1.log" || { cat "$1.log" >&2; return 1; }
    mv "$1.part" "$1"
}
mentions=(--mentions "$work/train")
make "$work/ngram" "$NOSO" index build "${mentions[@]}"
make "$work/bert" "$NOSO" index build "${mentions[@]}" --encoder "$encoder" --factory Flat
make "$work/hybrid" "$NOSO" index build "${mentions[@]}" --encoder "$encoder" --factory Flat --weight auto
for index in ngram bert hybrid; do
    make "$work/nearest-$index.bin" "$NOSO" train nearest --corpus "$work/train" --index "$work/$index"
done
make "$work/crf.bin" "$NOSO" train crf --corpus "$work/train"

row() { # TITLE SETTING...
    local title="$1" predicted
    predicted="$work/$(echo "$1" | tr -c 'a-z0-9\n' -)"
    if [ ! -e "$predicted.done" ]; then
        local resume=()
        [ -d "$predicted" ] && resume=(--resume)
        local set=()
        for setting in "${@:2}"; do set+=(--set "$setting"); done
        "$NOSO" code --pipeline bert --input "$work/dev" --input-format txt --output "$predicted" --output-format brat \
            "${set[@]}" ${resume[@]+"${resume[@]}"} >"$predicted.log" 2>&1 || { cat "$predicted.log" >&2; return 1; }
        touch "$predicted.done"
    fi
    echo "== $title"
    "$NOSO" eval --gold "${gold:-$work/dev}" --predicted "$predicted" --bootstrap 10000 2>>"$predicted.log"
    echo "relaxed:"
    "$NOSO" eval --gold "${gold:-$work/dev}" --predicted "$predicted" --bootstrap 10000 --relaxed 2>>"$predicted.log"
    echo
}
crf=(ner.engine=crf "ner.model=$work/crf.bin")
bert=("ner.model=$ner")
index() { echo "retrieval.index=$work/$1" "retrieval.encoder=$1"; }
vote=(retrieval.unit=code retrieval.neighbours=96)
near=(retrieval.vote_power=32) # vectors of a BERT lie closer together than those of n-grams
nearest() { echo "rerank.engine=nearest" "rerank.model=$work/nearest-$1.bin"; }

# shellcheck disable=SC2046
{
    row "crf, ngram, first" "${crf[@]}" $(index ngram)
    row "crf, ngram, vote" "${crf[@]}" $(index ngram) "${vote[@]}"
    row "crf, ngram, nearest" "${crf[@]}" $(index ngram) "${vote[@]}" $(nearest ngram)
    row "crf, bert, first" "${crf[@]}" $(index bert)
    row "bert, bert, first" "${bert[@]}" $(index bert)
    row "bert, bert, vote" "${bert[@]}" $(index bert) "${vote[@]}" "${near[@]}"
    row "bert, bert, nearest" "${bert[@]}" $(index bert) "${vote[@]}" $(nearest bert)
    row "bert, hybrid, first" "${bert[@]}" $(index hybrid)
    row "bert, hybrid, vote" "${bert[@]}" $(index hybrid) "${vote[@]}"
    row "bert, hybrid, nearest" "${bert[@]}" $(index hybrid) "${vote[@]}" $(nearest hybrid)
    row "crf, hybrid, nearest" "${crf[@]}" $(index hybrid) "${vote[@]}" $(nearest hybrid)
}
