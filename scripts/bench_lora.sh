#!/usr/bin/env bash
# Measures LoRA fine-tuning against PEFT with the Trainer of transformers: the same weights, token ids, batches and settings, the same run.
#
#     scripts/bench_lora.sh [PYTHON [cpu|cuda [MODEL[:STEPS]]...]]
#
# PYTHON has torch, transformers, peft and accelerate; default, or "": a virtual environment is made for it. MODEL is 6m or 100m, of 6 and 109
# million random weights (the default on the CPU: f32, THREADS (2) each), or phi3-3.8b or llama-8b (on a GPU; bf16 files of as much as 20 GB of
# disk). The job is the paper's: rank 16 on query and value, dropout 0.1, 8 batches of 2 texts a step, loss of the answer alone, which is
# 30 % of the tokens. The sides take turns, RUNS (3) each; a run's first step does not count, and of the runs the fastest does. Tokens are
# those of the texts: Trainer pads a batch to its longer text, which it must wait for, but which is no work done. Memory is the most that
# the process ever held (on a GPU: that the card did), with all that Python loads. The first losses tell that both compute the same: at
# first an adapter adds nothing. BENCH=PROGRAM spares the build, such as on a machine with a GPU and no toolkit. Prints a line a model and
# appends JSON lines to experiments/results/bench_lora.jsonl; aims: 0.7 times the peer's speed on the CPU, 1 on a GPU, at most its memory.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
python="${1:-}" device="${2:-cpu}"
case "$device" in
cpu) features=neural models=(6m:6 100m:3) on=() ;;
cuda) features=cuda,neural models=(phi3-3.8b:6 llama-8b:6) on=(cuda) ;;
*) echo "error: expected cpu or cuda, got $device" >&2; exit 1 ;;
esac
[ $# -le 2 ] || models=("${@:3}")

target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
work="$target/bench_lora"
mkdir -p "$work" experiments/results
if [ -z "$python" ]; then
    python="$(python_with "$target/peft-venv" scripts/peers/lora-requirements.txt)"
fi
bench="${BENCH:-$(cargo bench --no-run --bench lora_step --no-default-features --features "$features" --locked --message-format json |
    sed -n 's/.*"executable":"\([^"]*lora_step[^"]*\)".*/\1/p')}"

run() { # PROGRAM...: appends what it prints; on a GPU with the most memory that the card held
    local sampler="" failed=""
    : >"$work/card"
    if [ "$device" = cuda ]; then
        nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 100 >"$work/card" &
        sampler=$!
    fi
    "$@" "$folder" "${on[@]}" 2>"$work/log" >"$work/line" || failed=yes
    [ -z "$sampler" ] || kill "$sampler"
    [ -z "$failed" ] || { cat "$work/log" >&2; return 1; }
    python3 - "$work/line" "$(sort -n "$work/card" | tail -1)" <<'PY' >>"$work/runs.jsonl"
import json, sys
line = json.loads(open(sys.argv[1]).read().splitlines()[-1])
print(json.dumps(line | ({"peak_mib": int(sys.argv[2])} if sys.argv[2] else {})))
PY
}

echo "| model | Noso, tokens/s | PEFT, tokens/s | × | Noso, MiB | PEFT, MiB | × | first loss |"
echo "|---|---|---|---|---|---|---|---|"
for model in "${models[@]}"; do
    case "$model" in
    *:*) size="${model%:*}" steps="${model#*:}" ;;
    *) size="$model" steps=6 ;;
    esac
    folder="$work/$size"
    "$python" scripts/peers/lora.py --make "$folder" "$size" "$steps" "${on[@]}" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    : >"$work/runs.jsonl"
    for _ in $(seq "${RUNS:-3}"); do
        RAYON_NUM_THREADS="${THREADS:-2}" run "$bench"
        run "$python" scripts/peers/lora.py
    done
    python3 - "$work/runs.jsonl" "$size" "$device" "$(git rev-parse --short HEAD)" "${THREADS:-2}" <<'PY'
import json, sys, time
runs = [json.loads(line) for line in open(sys.argv[1])]
_, _, size, device, commit, threads = sys.argv
tokens = next(run["tokens"] for run in runs if "tokens" in run)[1:]
speed, memory, loss = {}, {}, {}
for run in runs:
    name = run["engine"]
    speed[name] = max(speed.get(name, 0), sum(tokens) / sum(run["step_s"]))
    memory[name] = max(memory.get(name, 0), run["peak_mib"])
    loss[name] = run["losses"][0]
noso, peft = "noso", "peft"
line = {"date": time.strftime("%Y-%m-%d"), "commit": commit, "device": device, "threads": int(threads), "model": size,
        "steps": len(tokens), "tokens": sum(tokens), "tokens_a_second": round(speed[noso]), "peer_tokens_a_second": round(speed[peft]),
        "times_the_peer": round(speed[noso] / speed[peft], 2), "peak_mib": memory[noso], "peer_peak_mib": memory[peft],
        "times_the_peers_memory": round(memory[noso] / memory[peft], 2),
        "first_loss": loss[noso], "peer_first_loss": loss[peft]}
line |= {key: runs[1][key] for key in ("bare_mib", "peft", "transformers", "torch")}
print(json.dumps(line), file=open("experiments/results/bench_lora.jsonl", "a"))
print(f"| {size} | {speed[noso]:,.0f} | {speed[peft]:,.0f} | {speed[noso] / speed[peft]:.2f} | {memory[noso]:,} | {memory[peft]:,} "
      f"| {memory[noso] / memory[peft]:.2f} | {loss[noso]:.4f} / {loss[peft]:.4f} |", flush=True)
assert abs(loss[noso] - loss[peft]) < (1e-3 if device == "cpu" else 2e-2) * loss[peft], "the sides compute different losses"
PY
done
