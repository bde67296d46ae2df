#!/usr/bin/env bash
# Checks that models of diagnoses mean the same to Noso and to transformers, from the trained folder on.
#
#     scripts/check_longformer.sh [PYTHON]
#
# PYTHON has torch and transformers; default: a virtual environment is made for it. On made-up patients Noso trains a model from nothing
# (word pieces), one from a tiny BERT and one from a tiny Longformer with byte-level tokens, both made by transformers, and trains the BERT
# further as masked language model of long texts. transformers loads each folder, with no weight missing or left over, cuts the texts of a
# patient without a past, with a short one and with one that does not fit into the same inputs, and gives the same probabilities as
# `noso diagnose` within 1e-6; they must differ from patient to patient by a thousand times as much, or equal ones would say nothing.
# Prints a line a folder; exit code 1 if anything differs.
set -euo pipefail
python="${1:-}"
cd "$(dirname "$0")/.."
. scripts/setup.sh

target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
work="$target/check_longformer"
fresh "$work"
if [ -z "$python" ]; then
    python="$(python_with "$target/peft-venv" scripts/peers/lora-requirements.txt)"
fi
cargo build --locked
noso="$target/debug/noso"
peer() { "$python" scripts/peers/diagnosis.py "$@" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }; }

"$noso" diagnosis simulate --patients 300 --format csv --output "$work/simulated"
"$noso" diagnosis build --table "$work/simulated/appointments.csv" --output "$work/data" --validation 0.1 --test 0
peer make "$work"
sizes=(--max-tokens 128 --window 16 --epochs 2 --batch 8 --learning-rate 5e-4 --validation-records 100)
train() { "$noso" train diagnosis --dataset "$work/data" --labels linked "${sizes[@]}" --output "$work/$1" "${@:2}"; }
train new --layers 2 --hidden 64 --heads 2 --vocabulary 600
train from-bert --encoder "$work/bert"
train from-longformer --encoder "$work/longformer"
"$noso" train mlm --init "$work/bert" --window 16 --length 128 --texts "$work/texts.txt" --input-format lines --epochs 1 --held-out 4 --output "$work/mlm"
for model in new from-bert from-longformer; do
    "$noso" diagnose --model "$work/$model" --table "$work/new.csv" --top 1000 --output "$work/$model.jsonl"
    peer compare "$work" "$model"
done
peer masked "$work/mlm"
