#!/usr/bin/env bash
# The table of the small language model, through mistral.rs on the dev split: without and with its adapters, decoding free or constrained;
# then what its choice among candidates adds, ranked and shuffled.
#
#     scripts/tables/lm.sh RUCCOD_TRAIN_DIR LM_DIR WORK_DIR
#
# LM_DIR is the WORK_DIR of scripts/train_lm.sh. A row whose figures stand in WORK_DIR is not made again, so WORK_DIR belongs to the weights
# that it was made with; what is printed stands in WORK_DIR/table.txt, too. LIMIT=N takes N records only, NOSO=PROGRAM spares the build.
set -euo pipefail
usage="usage: scripts/tables/lm.sh RUCCOD_TRAIN_DIR LM_DIR WORK_DIR"
corpus="$(realpath "${1:?$usage}")" lm="$(realpath "${2:?$usage}")" work="$(realpath -m "${3:?$usage}")"
cd "$(dirname "$0")/../.."
. scripts/setup.sh

if [ -z "${NOSO:-}" ]; then
    cargo build --release --locked
    NOSO="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
fi
mkdir -p "$work"
# Rows of other weights would stand side by side with these.
weights="$(cd "$lm" && sha256sum noso-lm/model.safetensors adapters/*/adapter_model.safetensors)"
[ -e "$work/weights.sha256" ] || echo "$weights" >"$work/weights.sha256"
if [ "$weights" != "$(cat "$work/weights.sha256")" ]; then
    echo "error: $work holds rows of other weights than those of $lm; take another WORK_DIR" >&2
    exit 1
fi
scripts/split.sh "$corpus" "$work" "${LIMIT:-1000000}"
# Without the dev split's mentions, or each would find itself.
[ -d "$work/index" ] || "$NOSO" index build --mentions "$work/train" --output "$work/index" 2>"$work/index.log"

ask=(--pipeline llm --model "$lm/noso-lm" --set ner.llm.prompt=ner-short-ru --set rerank.llm.prompt=select-short-ru
    --set llm.device=cpu --set llm.context_tokens=1024 --set "retrieval.index=$work/index")
ner=(--adapter-ner "$lm/adapters/noso-lm-ner")
rerank=(--adapter-rerank "$lm/adapters/noso-lm-rerank")
free=(--set ner.llm.decoding=free --set rerank.llm.decoding=free)

exec > >(tee "$work/table.txt")

keep() { # FILE COMMAND...: prints FILE, made by the command if it is not there
    [ -e "$1" ] || { "${@:2}" >"$1.part" 2>"$1.log" && mv "$1.part" "$1"; } || { cat "$1.log" >&2; return 1; }
    cat "$1"
}
row() { # NAME OPTION...
    local predicted="$work/$1"
    if [ ! -e "$predicted.done" ]; then
        rm -rf "$predicted"
        "$NOSO" code "${ask[@]}" "${@:2}" --input "$work/dev" --input-format txt --output "$predicted" --output-format brat 2>"$predicted.log" ||
            { cat "$predicted.log" >&2; return 1; }
        touch "$predicted.done"
    fi
    echo "== $1: $(grep -o '[0-9.]* documents/s' "$predicted.log")"
    keep "$predicted.strict" "$NOSO" eval --gold "$work/dev" --repair-gold --predicted "$predicted" --bootstrap 10000
}
for decoding in constrained free; do
    how=()
    [ "$decoding" = free ] && how=("${free[@]}")
    row "base-$decoding" ${how[@]+"${how[@]}"}
    row "ner-$decoding" "${ner[@]}" ${how[@]+"${how[@]}"}
    row "rerank-$decoding" "${rerank[@]}" ${how[@]+"${how[@]}"}
    row "both-$decoding" "${ner[@]}" "${rerank[@]}" ${how[@]+"${how[@]}"}
done
choice() { # NAME OPTION...: what choosing adds, on gold mentions without a direct match
    echo "== choice, $1"
    keep "$work/choice-$1" "$NOSO" stages --gold "$work/dev" "${ask[@]}" "${ner[@]}" "${@:2}" | sed -n '/^Choice among/,/^$/p'
}
for order in ranked shuffled; do
    choice "base-$order" --set "rerank.llm.order=$order"
    choice "taught-$order" "${rerank[@]}" --set "rerank.llm.order=$order"
    for taught in ranked shuffled; do
        choice "$taught-drop-$order" --adapter-rerank "$lm/adapters/noso-lm-rerank-$taught-drop" --set "rerank.llm.order=$order"
    done
done
# 0.8 was chosen on the held-out notes of scripts/train_lm.sh.
choice taught-prior "${rerank[@]}" --set rerank.llm.prior=0.8
