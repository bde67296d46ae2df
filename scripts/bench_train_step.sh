#!/usr/bin/env bash
# Measures a training step against PyTorch and transformers: the same weights, token ids, batches and settings, the same run.
#
#     scripts/bench_train_step.sh [PYTHON]
#
# PYTHON has torch and transformers. Two BERTs of random weights (scripts/peers/train_step.py --make), 2 threads each, f32, dropout
# 0.1: forward pass, cross-entropy over all tokens, backward pass, clipping, AdamW; 12 batches of 32 made-up sentences, 45 tokens on
# average. PyTorch pads a batch to its longest sentence, as Trainer does. The sides take turns, three each; of all steps after the
# first of a run the fastest and the median count. Appends one JSON line a model to experiments/results/bench_train_step.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
python="${1:-python3}"

bench="$(cargo bench --no-run --bench train_step --no-default-features --features neural --locked --message-format json |
    sed -n 's/.*"executable":"\([^"]*train_step[^"]*\)".*/\1/p')"
work="$(dirname "$(dirname "$(dirname "$bench")")")/bench"
mkdir -p "$work" experiments/results
for model in "384 6 12" "256 4 4"; do
    folder="$work/train-${model// /-}"
    # shellcheck disable=SC2086 # three numbers
    "$python" scripts/peers/train_step.py --make "$folder" $model
    : >"$work/runs.jsonl"
    for _ in 1 2 3; do
        RAYON_NUM_THREADS=2 "$bench" "$folder" >>"$work/runs.jsonl"
        "$python" scripts/peers/train_step.py "$folder" >>"$work/runs.jsonl" 2>/dev/null
    done
    python3 - "$work/runs.jsonl" "$model" "$(git rev-parse --short HEAD)" <<'PY' | tee -a experiments/results/bench_train_step.jsonl
import json, statistics, sys, time
steps, losses = {}, {}
for run in map(json.loads, open(sys.argv[1])):
    engine = run["engine"].split()[0]
    steps.setdefault(engine, []).extend(run["step_ms"])
    losses[engine] = run["losses"]
    padding = run.get("padding")
hidden, layers, heads = map(int, sys.argv[2].split())
figures = {name: {"fastest_ms": round(min(ms)), "median_ms": round(statistics.median(ms)), "first_loss": round(losses[name][0], 3),
                  "last_loss": round(losses[name][-1], 3)} for name, ms in steps.items()}
print(json.dumps({"date": time.strftime("%Y-%m-%d"), "commit": sys.argv[3], "hidden": hidden, "layers": layers, "heads": heads, **figures,
                  "padding_of_the_peer": padding, "times_the_peer": round(min(steps["torch"]) / min(steps["noso"]), 2)}))
PY
done
