#!/usr/bin/env bash
# Trains the language model that ships, models/noso-lm, and its adapters, from RuCCoD's training folder.
#
#     scripts/train_lm.sh RUCCOD_TRAIN_DIR WORK_DIR
#
# Learns from the 2,500 records of the train split (scripts/split.sh), every 25th of them held out to choose checkpoints by; the dev split
# is not seen, so it can be measured on. WORK_DIR then holds noso-lm, and noso-lm-ner, noso-lm-rerank and, for comparison, not shipped,
# two that never answer 0 (noso-lm-rerank-ranked-drop and -shuffled-drop) below adapters/. On 2 idle cores: under two hours. A run that was cut off goes on where it was.
# NOSO=PROGRAM spares the build.
set -euo pipefail
usage="usage: scripts/train_lm.sh RUCCOD_TRAIN_DIR WORK_DIR"
corpus="$(realpath "${1:?$usage}")" work="$(realpath -m "${2:?$usage}")"
[ -z "${NOSO:-}" ] || NOSO="$(realpath "$(command -v "$NOSO")")"
cd "$(dirname "$0")/.."
. scripts/setup.sh

if [ -z "${NOSO:-}" ]; then
    cargo build --release --no-default-features --features neural --locked
    NOSO="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
fi
mkdir -p "$work"
scripts/split.sh "$corpus" "$work"
for part in learn held-out; do rm -rf "${work:?}/$part" && mkdir "$work/$part"; done
find "$work/train" -name '*.txt' | sort -V | awk '{ print (NR % 25 ? "learn" : "held-out"), $0 }' |
    while read -r part text; do cp -d "$text" "${text%.txt}.ann" "$work/$part/"; done

# Paths as they stand on the model cards: seen from WORK_DIR.
cd "$work"
data='corpus = ["learn"]
tune = ["held-out"]
attribution = "Trained on RuCCoD (auto-icd-coding/ruccod), CC BY 4.0."'

cat >model.toml <<END
$data

[pretrain.fit]
epochs = 26
evaluate_steps = 342 # two epochs
END
cat >adapters.toml <<END
base = "noso-lm"
$data
adapter = [
    { name = "noso-lm-ner", task = "ner", prompt = "ner-short-ru" },
    { name = "noso-lm-rerank", task = "rerank", prompt = "select-short-ru", order = "ranked", absent = "none" },
    { name = "noso-lm-rerank-ranked-drop", task = "rerank", prompt = "select-short-ru", order = "ranked", absent = "drop" },
    { name = "noso-lm-rerank-shuffled-drop", task = "rerank", prompt = "select-short-ru", order = "shuffled", absent = "drop" },
]

[finetune]
max_tokens = 1024
best = "score"
score_questions = 400

[finetune.lora]
rank = 16
alpha = 32.0
dropout = 0.05
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

[finetune.fit]
epochs = 1
batch = 16
accumulation = 1
learning_rate = 5e-4
schedule = "cosine"
warm_up = { share = 0.05 }
evaluate_steps = 75
checkpoint_steps = 75
patience = 0
END
[ -e noso-lm/README.md ] || "$NOSO" train lora --config model.toml --output noso-lm --resume
"$NOSO" train lora --config adapters.toml --output adapters --resume
