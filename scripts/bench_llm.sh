#!/usr/bin/env bash
# Measures the language model engine against transformers' `generate`: the same chats, answers of the same length, the same run.
#
#     scripts/bench_llm.sh [PYTHON] [cpu|cuda]
#
# PYTHON has torch and transformers. The models have random weights (scripts/peers/generate.py --make): a tiny Llama, and one
# of the size of Qwen2.5-0.5B (2 GB on disk). On the CPU both compute in f32, on a GPU in bf16. Noso codes made-up texts with
# pipeline `llm`, answers of at most 32 tokens; its trace says which chats transformers is given and how long each answer was.
# Appends one JSON line a model to experiments/results/bench_llm.jsonl.
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

for model in tiny:200 0.5b:8; do
    size="${model%:*}" count="${model#*:}"
    [ -e "$work/$size/config.json" ] || "$python" scripts/peers/generate.py --make "$size" "$work/$size"
    python3 scripts/bench_texts.py "$count" 1 >"$work/texts.txt"
    "$noso" code --pipeline llm --set llm.model="$work/$size" --set llm.device="$device" --set ner.llm.max_tokens=32 \
        --input "$work/texts.txt" --input-format lines --output "$work/$size.jsonl" --output-format jsonl \
        --explain 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    python3 - "$work/$size.jsonl" >"$work/exchanges.jsonl" <<'PY'
import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    for exchange in json.loads(line).get("trace", {}).get("exchanges", []):
        print(json.dumps({key: exchange[key] for key in ("messages", "prompt_tokens", "answer_tokens")}, ensure_ascii=False))
PY
    peer=("$python" scripts/peers/generate.py "$work/$size" "$work/exchanges.jsonl" --device "$device" --dtype "$dtype")
    single="$("${peer[@]}" 2>/dev/null)"
    batched="$("${peer[@]}" --batch 8 2>/dev/null)"
    python3 - "$work" "$size" "$count" "$device" "$(git rev-parse --short HEAD)" "$(nproc)" "$single" "$batched" <<'PY' |
import json, re, sys, time
work, size, documents, device, commit, cores, single, batched = sys.argv[1:]
seconds = float(re.search(r"([\d.]+) s, [\d.]+ documents/s", open(work + "/log").read())[1])
chats = [json.loads(line) for line in open(work + "/exchanges.jsonl", encoding="utf-8")]
tokens = sum(chat["prompt_tokens"] + chat["answer_tokens"] for chat in chats)
line = {"date": time.strftime("%Y-%m-%d"), "commit": commit, "device": device, "cores": int(cores), "model": size,
        "documents": int(documents), "chats": len(chats), "prompt_tokens": sum(chat["prompt_tokens"] for chat in chats),
        "answer_tokens": sum(chat["answer_tokens"] for chat in chats), "seconds": seconds}
rates = {"": seconds, "peer_": json.loads(single)["seconds"], "peer_batch_8_": json.loads(batched)["seconds"]}
for name, took in rates.items():
    line |= {name + "documents_a_second": round(int(documents) / took, 3), name + "tokens_a_second": round(tokens / took, 1)}
line |= {"times_the_peer": round(rates["peer_"] / seconds, 2), "times_the_peer_batch_8": round(rates["peer_batch_8_"] / seconds, 2)}
print(json.dumps(line))
PY
        tee -a experiments/results/bench_llm.jsonl
done
