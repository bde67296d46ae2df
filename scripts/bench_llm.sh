#!/usr/bin/env bash
# Measures the language model engine against transformers' `generate`: the same chats, answers of the same length, the same run.
#
#     scripts/bench_llm.sh [PYTHON] [cpu|cuda]
#
# PYTHON has torch and transformers. The models have random weights (scripts/peers/generate.py --make): a tiny Llama, and one
# of the size of Qwen2.5-0.5B (2 GB on disk). On the CPU both compute in f32, on a GPU in bf16. Noso runs pipeline `llm` over
# made-up texts: `extract` asks for the diagnoses of each, in 32 tokens; `select` chooses codes for what the shipped recogniser
# found. The trace says which chats transformers is given, and how long each answer was. Loading the model is not counted.
# Appends one JSON line a model and task to experiments/results/bench_llm.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
python="${1:-python3}"
device="${2:-cpu}"
"$python" -c 'import torch, transformers' || { echo "error: $python needs torch and transformers" >&2; exit 1; }
features=llm dtype=float32
[ "$device" = cpu ] || { features=cuda dtype=bfloat16; }

cargo build --release --features "$features" --locked
noso="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
work="$(dirname "$(dirname "$noso")")/bench_llm"
mkdir -p "$work" experiments/results

measure() { # SIZE TASK DOCUMENTS [OPTION ...]
    local size="$1" task="$2" documents="$3" single batched
    python3 scripts/bench_texts.py "$documents" 1 >"$work/texts.txt"
    "$noso" code --pipeline llm --model "$work/$size" --set llm.device="$device" "${@:4}" --input "$work/texts.txt" \
        --input-format lines --output "$work/coded.jsonl" --output-format jsonl --explain 2>"$work/log" ||
        { cat "$work/log" >&2; return 1; }
    python3 - "$work/coded.jsonl" >"$work/exchanges.jsonl" <<'PY'
import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    for exchange in json.loads(line).get("trace", {}).get("exchanges", []):
        print(json.dumps({key: exchange[key] for key in ("messages", "prompt_tokens", "answer_tokens")}, ensure_ascii=False))
PY
    local peer=("$python" scripts/peers/generate.py "$work/$size" "$work/exchanges.jsonl" --device "$device" --dtype "$dtype")
    single="$("${peer[@]}" 2>>"$work/log")"
    batched="$("${peer[@]}" --batch 8 2>>"$work/log")"
    python3 - "$work" "$size" "$task" "$documents" "$device" "$(git rev-parse --short HEAD)" "$(nproc)" "$single" "$batched" <<'PY'
import json, re, sys, time
work, size, task, documents, device, commit, cores, *peers = sys.argv[1:]
single, batched = map(json.loads, peers)
seconds = float(re.search(r"([\d.]+) s, [\d.]+ documents/s", open(work + "/log").read())[1])
chats = [json.loads(line) for line in open(work + "/exchanges.jsonl", encoding="utf-8")]
prompt, answer = (sum(chat[key] for chat in chats) for key in ("prompt_tokens", "answer_tokens"))
assert prompt == single["prompt_tokens"], "transformers was given other prompts"
line = {"date": time.strftime("%Y-%m-%d"), "commit": commit, "device": device, "cores": int(cores), "model": size, "task": task,
        "transformers": single["transformers"], "documents": int(documents), "chats": len(chats), "prompt_tokens": prompt,
        "answer_tokens": answer, "seconds": seconds}
for name, took in {"": seconds, "peer_": single["seconds"], "peer_batch_8_": batched["seconds"]}.items():
    line |= {name + "documents_a_second": round(int(documents) / took, 3), name + "tokens_a_second": round((prompt + answer) / took, 1)}
line |= {"times_the_peer": round(single["seconds"] / seconds, 2), "times_the_peer_batch_8": round(batched["seconds"] / seconds, 2)}
print(json.dumps(line))
PY
}

for model in tiny:200 0.5b:8; do
    size="${model%:*}" documents="${model#*:}"
    [ -e "$work/$size/config.json" ] || "$python" scripts/peers/generate.py --make "$size" "$work/$size"
    measure "$size" extract "$documents" --set ner.llm.decoding=free --set ner.llm.max_tokens=32 | tee -a experiments/results/bench_llm.jsonl
    measure "$size" select "$documents" --set ner.engine=crf | tee -a experiments/results/bench_llm.jsonl
done
