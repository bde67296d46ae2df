#!/usr/bin/env bash
# Runs every row of the paper's Tables 3 and 6 to 12 that can run on this machine, and prints the paper's figures beside ours.
#
#     scripts/reproduce.sh RUCCOD_TRAIN_DIR WORK_DIR [--stand-in] [OPTION of `noso experiment run` ...]
#
# Measured is on the dev split (500 of the 3,000 training records); the official test records are left to a final measurement. What learns learns from the
# other 2,500. A row that needs a model, adapter or index that is not there says so and stops nothing: put models into the Hugging Face cache
# or name them as the rows do (experiments/table*.toml), adapters into WORK_DIR/adapters, indexes into WORK_DIR/indexes.
#
#   --stand-in       ask the small model that ships in place of every language model, and n-grams in place of encoders: shows that a row runs
#   MRCONSO=FILE     UMLS (licensed to you), with NEREL_BIO=DIR and RUCCON=DIR linked to UMLS: makes the dictionaries of Table 10
#   DICTIONARY=FILE  the ICD dictionary [default: the catalogue that ships]
#   ENCODER=DIR      encoder of the dictionaries (the paper: a BERGAMOT trained with `noso train linker`) [default: n-grams]
#   ONLINE=yes       download models from the Hugging Face hub
#   NOSO=PROGRAM     spares the build
#
# What is done is kept in WORK_DIR: a run that was cut off goes on if it is started again.
set -euo pipefail
usage="usage: scripts/reproduce.sh RUCCOD_TRAIN_DIR WORK_DIR [--stand-in] [OPTION ...]"
corpus="$(realpath "${1:?$usage}")" work="$(realpath -m "${2:?$usage}")"
shift 2
cd "$(dirname "$0")/.."
. scripts/setup.sh
repository="$PWD"

if [ -z "${NOSO:-}" ]; then
    cargo build --release --locked
    NOSO="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
fi
NOSO="$(realpath "$NOSO")"
# What stands in for a model never gets among what the models made.
[[ " $* " == *" --stand-in "* ]] && work="$work/stand-in"
mkdir -p "$work/indexes"
inputs="corpus $corpus, encoder ${ENCODER:-n-grams}, dictionary ${DICTIONARY:-shipped}"
if [ "$(cat "$work/inputs" 2>/dev/null || echo "$inputs")" != "$inputs" ]; then
    echo "error: $work was made with other inputs ($(cat "$work/inputs")); choose another WORK_DIR" >&2
    exit 1
fi
echo "$inputs" >"$work/inputs"
[ -e "$work/split/done" ] || { scripts/split.sh "$corpus" "$work/split" && touch "$work/split/done"; }
cd "$work"
[ "${ONLINE:-}" = yes ] || export HF_HUB_OFFLINE=1

index() { # NAME OPTION...
    [ -e "indexes/$1" ] && return
    echo "building indexes/$1" >&2
    "$NOSO" index build "${@:2}" --output "indexes/$1" 2>"indexes/$1.log" || { cat "indexes/$1.log" >&2; return 1; }
}
encoder=(--factory Flat)
[ -z "${ENCODER:-}" ] || encoder+=(--encoder "$ENCODER")
[ -z "${DICTIONARY:-}" ] || encoder+=(--catalog "$DICTIONARY")
mentions=(--mentions split/train)
index icd "${encoder[@]}"
index icd-ruccod "${encoder[@]}" "${mentions[@]}"
if [ -n "${MRCONSO:-}" ]; then
    [ -z "${NEREL_BIO:-}" ] || index nerel-bio "${encoder[@]}" --no-titles --vocabulary "$NEREL_BIO" --umls "$MRCONSO"
    [ -z "${RUCCON:-}" ] || index ruccon "${encoder[@]}" --no-titles --vocabulary "$RUCCON" --umls "$MRCONSO"
fi
if [[ " $* " == *" --stand-in "* ]]; then
    for name in icd-bge-m3 icd-bergamot; do [ -e "indexes/$name" ] || ln -s icd "indexes/$name"; done
    [ -e indexes/icd-ruccod-bge-m3 ] || ln -s icd-ruccod indexes/icd-ruccod-bge-m3
fi
if [ ! -e own/models/default/ner.bin ]; then
    echo "training noso's own engine" >&2
    "$NOSO" index build "${mentions[@]}" --drop-mention-text --output own/indexes/default 2>own.log
    "$NOSO" train nearest --corpus split/train --index own/indexes/default --output own/models/default/nearest.bin 2>>own.log
    "$NOSO" train crf --corpus split/train --output own/models/default/ner.bin 2>>own.log
fi

for table in own table6 table7 table8 table9 table10; do
    echo "== $table" >&2
    # Exit code 2: some rows could not be run, which the tables tell.
    "$NOSO" experiment run "$repository/experiments/$table.toml" --corpus "$corpus" --output "runs/$table" "$@" >"$table.txt" 2>"$table.log" || [ $? = 2 ] ||
        { cat "$table.log" >&2; exit 1; }
done
cat own.txt table6.txt
"$NOSO" experiment paper --figures "$repository/experiments/paper.toml" runs/table*
