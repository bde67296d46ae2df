#!/usr/bin/env bash
# Checks and times a CUDA build on a machine with an NVIDIA GPU: the same answers as on the CPU, and documents a minute.
#
#     scripts/gpu_check.sh NOSO_CUDA [WORK_DIR]
#
# NOSO_CUDA is what scripts/build_cuda.sh made. Needs Python with torch and transformers (the peer, which also writes the models):
# a tiny random Llama for the answers, and a random model of Qwen2.5-7B's shape for the speed. Prints one JSON line and appends it
# to experiments/results/bench_gpu.jsonl. Takes about six minutes and 40 GiB of GPU memory.
set -euo pipefail
noso="$(realpath "${1:?usage: scripts/gpu_check.sh NOSO_CUDA [WORK_DIR]}")"
work="$(realpath -m "${2:-/tmp/noso-gpu}")"
cd "$(dirname "$0")/.."
mkdir -p "$work" experiments/results
for size in tiny 7b; do
    [ -e "$work/$size/config.json" ] || python3 scripts/peers/generate.py --make "$size" "$work/$size"
done
python3 scripts/bench_texts.py 64 1 >"$work/texts.txt"

code() { # MODEL DEVICE DTYPE OUTPUT [OPTION...]
    local model="$1" device="$2" dtype="$3" output="$4"
    shift 4
    rm -f "$output" "$output.manifest.json"
    "$noso" code --pipeline llm --model "$model" --set "llm.device=$device" --set "llm.dtype=$dtype" --input "$work/texts.txt" \
        --input-format lines --output "$output" --output-format jsonl --explain "$@" 2>"$output.log" || { cat "$output.log" >&2; return 1; }
}
for run in "cpu f32" "cuda f32" "cuda bf16"; do
    set -- $run
    code "$work/tiny" "$1" "$2" "$work/tiny-$1-$2.jsonl" --limit 16
done
code "$work/7b" cuda bf16 "$work/7b.jsonl" --set llm.max_in_flight=16 --set ner.llm.max_tokens=64
# The peer gets the same questions and gives answers of the same lengths.
python3 - "$work" <<'PY' >"$work/exchanges.jsonl"
import json, sys
for line in open(f"{sys.argv[1]}/7b.jsonl"):
    for exchange in json.loads(line)["trace"]["exchanges"]:
        print(json.dumps({key: exchange[key] for key in ("messages", "answer_tokens")}, ensure_ascii=False))
PY
python3 scripts/peers/generate.py "$work/7b" "$work/exchanges.jsonl" --batch 16 --device cuda --dtype bfloat16 >"$work/peer.json"
python3 - "$work" <<'PY' | tee -a experiments/results/bench_gpu.jsonl
import json, subprocess, sys, time
work = sys.argv[1]
answers = lambda name: [[e["answer"] for e in json.loads(line)["trace"]["exchanges"]] for line in open(f"{work}/{name}.jsonl")]
same = lambda a, b: round(sum(x == y for x, y in zip(answers(a), answers(b))) / len(answers(a)), 3)
summary = json.load(open(f"{work}/7b.jsonl.manifest.json"))["summary"]
card = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
print(json.dumps({"date": time.strftime("%Y-%m-%d"), "card": card,
                  "same_answers_cuda_f32_as_cpu": same("tiny-cpu-f32", "tiny-cuda-f32"),
                  "same_answers_cuda_bf16_as_cpu": same("tiny-cpu-f32", "tiny-cuda-bf16"),
                  "documents_a_minute": round(60 * summary["documents"] / summary["seconds"], 1),
                  "asked": summary["asked"], "peer": json.load(open(f"{work}/peer.json"))}, ensure_ascii=False))
PY
