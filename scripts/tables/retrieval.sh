#!/usr/bin/env bash
# Prints the retrieval table: accuracy of gold mentions of the dev split, for each encoder and what is in the index.
#
#     scripts/tables/retrieval.sh DATA_DIR [ENCODER ...]
#
# DATA_DIR holds ruccod/train, ruccod/mkb2descr.yaml and, where there are such rows, ruccon and nerel-bio-linked. Mentions in an index are
# those outside the dev split (scripts/split.sh). Each ENCODER, the folder or hub id of a BERT, adds its rows: alone, and joined with
# n-grams at a weight chosen by cross-validation on the training mentions; with TUNE=yes the weight is chosen on the tune split
# instead (for an ENCODER trained without it).
# MRCONSO=FILE (UMLS, licensed to you) adds the rows that need UMLS. NOSO=PROGRAM spares the build; WORK=DIR is where indexes are made
# anew each time.
set -euo pipefail
data="$(realpath "${1:?usage: scripts/tables/retrieval.sh DATA_DIR [ENCODER ...]}")"
shift
cd "$(dirname "$0")/../.."
. scripts/setup.sh

if [ -z "${NOSO:-}" ]; then
    cargo build --release --no-default-features --features neural --locked
    NOSO="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
fi
weigh=(--weight auto)
work="${WORK:-$(dirname "$(dirname "$NOSO")")/retrieval}"
fresh "$work"
scripts/split.sh "$data/ruccod/train" "$work"

indexes=()
build() { # NAME OPTION...
    "$NOSO" index build --factory Flat "${@:2}" --output "$work/$1" 2>"$work/$1.log" ||
        { cat "$work/$1.log" >&2; return 1; }
    grep -h 'concepts have codes\|^  0\.[0-9]:' "$work/$1.log" | sed "s|^|$1: |" >&2 || true
    indexes+=(--index "$work/$1")
}
dictionary=(--catalog "$data/ruccod/mkb2descr.yaml")
mentions=(--mentions "$work/train")

build ngram-shipped-titles
build ngram-shipped-titles+mentions "${mentions[@]}"
build ngram-dictionary "${dictionary[@]}"
build ngram-dictionary+mentions "${dictionary[@]}" "${mentions[@]}"
both=()
for corpus in ruccon nerel-bio-linked; do
    [ -d "$data/$corpus" ] || continue
    words=(--vocabulary "$data/$corpus" --map by-name)
    both+=(--vocabulary "$data/$corpus")
    build "ngram-$corpus" "${dictionary[@]}" "${words[@]}" --no-titles
    build "ngram-dictionary+$corpus" "${dictionary[@]}" "${words[@]}"
    build "ngram-shipped-titles+mentions+$corpus" "${mentions[@]}" "${words[@]}"
done
[ ${#both[@]} -lt 4 ] || build ngram-shipped-titles+mentions+both "${mentions[@]}" "${both[@]}" --map by-name
if [ -n "${MRCONSO:-}" ]; then
    umls=(--umls "$MRCONSO" --umls-names)
    build ngram-dictionary+umls "${dictionary[@]}" "${umls[@]}"
    build ngram-dictionary+mentions+umls "${dictionary[@]}" "${mentions[@]}" "${umls[@]}"
    [ ${#both[@]} = 0 ] || build ngram-dictionary+vocabularies+umls "${dictionary[@]}" "${both[@]}" "${umls[@]}"
else
    echo "dictionary + UMLS synonyms, vocabularies mapped by UMLS: need UMLS (MRCONSO=FILE)" >&2
fi
for encoder in "$@"; do
    name="$(basename "$encoder")"
    [ ! -e "$work/$name-shipped-titles" ] || name="$(echo "$encoder" | tr / -)" # two of one name
    build "$name-shipped-titles" --encoder "$encoder"
    build "$name-shipped-titles+mentions" --encoder "$encoder" "${mentions[@]}"
    build "$name-dictionary" --encoder "$encoder" "${dictionary[@]}"
    build "$name-dictionary+mentions" --encoder "$encoder" "${dictionary[@]}" "${mentions[@]}"
    if [ -n "${TUNE:-}" ]; then
        "$NOSO" index build --factory Flat --encoder "$encoder" --mentions "$work/fit" --weight auto --tune "$work/tune" \
            --output "$work/weighed" 2>"$work/weighed.log" || { cat "$work/weighed.log" >&2; exit 1; }
        grep -h '^  0\.[0-9]:' "$work/weighed.log" | sed "s|^|$name, tune: |" >&2
        weigh=(--weight "$(sed -n 's/^weight = //p' "$work/weighed/manifest.toml")")
    fi
    build "hybrid-$name-shipped-titles+mentions" --encoder "$encoder" "${mentions[@]}" "${weigh[@]}"
    indexes+=(--index "rrf:$work/hybrid-$name-shipped-titles+mentions")
done
# A BERT's vectors lie closer together than n-grams', so its vote wants a higher power.
"$NOSO" retrieval --gold "$work/dev" --vote-power 8 --vote-power 32 "${indexes[@]}" 2>"$work/retrieval.log" || { cat "$work/retrieval.log" >&2; exit 1; }
