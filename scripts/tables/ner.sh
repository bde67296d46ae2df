#!/usr/bin/env bash
# The NER table (the paper's Table 5): each recogniser trained, and measured on the dev split of RuCCoD.
#
#     scripts/tables/ner.sh RUCCOD_TRAIN_DIR NEREL_BIO_DIR RUCCON_DIR ENCODER_DIR WORK_DIR
#
# A row whose figures stand in WORK_DIR is not made again; a training that was cut off goes on where it stopped.
# The recognisers learn from the records of RuCCoD that are not in the dev split (scripts/split.sh), without looking at it.
#
#   SPLIT=tune       measure on the tune split, learn from what is neither tune nor dev: to choose settings by
#   NER_OPTIONS=…    more options of every `noso train ner`, such as '--learning-rate 2e-4 --epochs 30'
#   LIMIT=N          use N documents of each corpus only, to try the script out
#   ROWS='crf …'     make these rows only
#   NOSO=…           the program; without it, it is built
set -euo pipefail
usage="usage: scripts/tables/ner.sh RUCCOD_TRAIN_DIR NEREL_BIO_DIR RUCCON_DIR ENCODER_DIR WORK_DIR"
ruccod="$(realpath "${1:?$usage}")"
nerel="$(realpath "${2:?$usage}")"
ruccon="$(realpath "${3:?$usage}")"
encoder="$(realpath "${4:?$usage}")"
work="$(realpath -m "${5:?$usage}")"
cd "$(dirname "$0")/../.."
. scripts/setup.sh
if [ -z "${NOSO:-}" ]; then
    cargo build --release --no-default-features --features neural --locked
    NOSO="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
fi
split="${SPLIT:-dev}"
limit="${LIMIT:-1000000}"
read -ra options <<<"${NER_OPTIONS:-}"

# link TEXT FOLDER: puts a document and its annotation into a folder.
link() {
    mkdir -p "$2"
    ln -sf "$1" "${1%.txt}.ann" "$2/"
}

splits="$work/corpora"
if [ ! -e "$splits/done" ]; then
    fresh "$splits"
    scripts/split.sh "$ruccod" "$splits" "$limit"
    # The test folders of both are left out: they are others' held-out data.
    [ -d "$nerel/train" ] && nerel="$nerel/train"
    for text in $(printf '%s\n' "$nerel"/*.txt | head -n "$limit"); do link "$text" "$splits/nerel"; done
    for text in $(find "$ruccon"/main* -name '*.txt' | sort -V | head -n "$limit"); do
        part="${text#"$ruccon"/}"
        link "$text" "$splits/ruccon/$(dirname "$part")"
    done
    touch "$splits/done"
fi
own=(--corpus "$splits/train")
[ "$split" = tune ] && own=(--corpus "$splits/fit")
rows="$work/$split"
mkdir -p "$rows"

# measure ROW KEY=VALUE…: codes the split with a recogniser and keeps the figures of its spans.
measure() {
    local row="$1" setting set=()
    shift
    for setting in "$@"; do set+=(--set "$setting"); done
    rm -rf "$rows/$row.predicted"
    "$NOSO" code --input "$splits/$split" --input-format txt --output "$rows/$row.predicted" --output-format brat "${set[@]}" >/dev/null
    "$NOSO" eval --gold "$splits/$split" --repair-gold --predicted "$rows/$row.predicted" --bootstrap 10000 >"$rows/$row.partial"
    mv "$rows/$row.partial" "$rows/$row.txt"
}

wanted() { [ ! -s "$rows/$1.txt" ] && [[ " ${ROWS:-$1} " == *" $1 "* ]]; }

# bert ROW OPTION…: trains a recogniser, going on where a run stopped, and measures it.
bert() {
    local row="$1"
    shift
    wanted "$row" || return 0
    echo "== $row" >&2
    local model="$rows/$row.model"
    [ -e "$model/config.json" ] ||
        "$NOSO" train ner --encoder "$encoder" --output "$model" --resume "$@" "${options[@]}" 2>&1 | tee -a "$rows/$row.log" >&2
    measure "$row" ner.engine=bert "ner.model=$model"
}

if wanted crf; then
    echo "== crf" >&2
    # `noso train crf` takes one folder.
    mkdir -p "$rows/crf.corpus"
    for folder in "${own[@]}"; do
        [ "$folder" = --corpus ] || find "$folder" -type l -exec cp -P -t "$rows/crf.corpus" {} +
    done
    "$NOSO" train crf --corpus "$rows/crf.corpus" --output "$rows/crf.bin"
    measure crf "ner.model=$rows/crf.bin"
fi
diso=(--corpus "$splits/nerel=DISO")
disease=(--corpus "$splits/ruccon=Disease")
bert ruccod "${own[@]}"
bert nerel-bio "${diso[@]}"
bert ruccon "${disease[@]}"
bert nerel-bio+ruccod "${diso[@]}" "${own[@]}"
bert ruccon+ruccod "${disease[@]}" "${own[@]}"
bert binder-ruccod --kind binder "${own[@]}"

echo "Spans on the $split split: precision, recall, F1, accuracy, with 95 % intervals"
for row in crf ruccod nerel-bio ruccon nerel-bio+ruccod ruccon+ruccod binder-ruccod; do
    [ ! -s "$rows/$row.txt" ] || printf '%-18s%s\n%18s%s\n' "$row" "$(sed -n '/ NER  /p' "$rows/$row.txt")" "" "$(sed -n '/ NER  /{n;p}' "$rows/$row.txt")"
done
