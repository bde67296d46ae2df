#!/usr/bin/env bash
# Measures what a Longformer costs at each length, against transformers: the same weights, token ids, batches and settings, the same run.
#
#     scripts/bench_longformer.sh [PYTHON]
#
# PYTHON has torch and transformers. A LongformerForSequenceClassification of random weights (scripts/peers/longformer.py --make): 4 layers,
# 256 wide, 4 heads, window 512, the first token global, 68 classes; 2 threads a side, f32. A batch has 8,192 tokens at every length, from
# 16 sequences of 512 to one of 8,192, without padding: where cost is linear, every row takes as long (but for texts of 512, which do not
# fill their windows). Timed are the forward pass alone and whole training steps: dropout 0.1, binary cross-entropy, backward pass,
# clipping, AdamW. Noso's steps are those of its training loop, with as many shards as it has by itself, 2. Each thread computes sequences
# of its own, also in the forward pass: one sequence of 8,192 keeps one thread busy and takes twice the time, so 2 × 4,096 is the row that
# tells whether two threads' cost is linear. Each side has a process of its own for every row and run; they take turns, RUNS (3) each, of
# a batch that does not count and two that do; the fastest and the median of all count. Memory is the most that a process ever held, less
# what it held before it read the model, which stands behind the plus. About eight minutes on two idle cores. LENGTHS="512 1024" measures
# fewer, BENCH=PROGRAM spares the build. Prints tables and appends JSON lines to experiments/results/bench_longformer.jsonl: one a row, and
# one a job that tells by how much a token costs more at each length than at the shortest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
python="${1:-python3}"

work="$(realpath -m "${CARGO_TARGET_DIR:-target}")/bench/longformer"
mkdir -p "$work" experiments/results
bench="${BENCH:-$(cargo bench --no-run --bench longformer --no-default-features --features neural --locked --message-format json |
    sed -n 's/.*"executable":"\([^"]*longformer[^"]*\)".*/\1/p')}"
"$python" scripts/peers/longformer.py --make "$work/model" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
: >"$work/rows.jsonl"

echo "| job | length | Noso, ms (median) | tokens/s | transformers, ms (median) | tokens/s | × | Noso, MiB | transformers, MiB | × |"
echo "|---|---|---|---|---|---|---|---|---|---|"
for job in forward train; do
    for length in ${LENGTHS:-512 1024 2048 4096 8192}; do
        : >"$work/runs.jsonl"
        for _ in $(seq "${RUNS:-3}"); do
            # Freed pages are kept, as the command has it.
            MIMALLOC_PURGE_DELAY=-1 RAYON_NUM_THREADS=2 "$bench" "$work/model" "$length" "$job" >>"$work/runs.jsonl"
            "$python" scripts/peers/longformer.py "$work/model" "$length" "$job" 2>"$work/log" >>"$work/runs.jsonl" ||
                { cat "$work/log" >&2; exit 1; }
        done
        python3 - "$work" "$job" "$length" "$(git rev-parse --short HEAD)" <<'PY'
import json, statistics, sys, time
work, job, length, commit = sys.argv[1:]
runs = [json.loads(line) for line in open(f"{work}/runs.jsonl")]
tokens = json.load(open(f"{work}/model/texts.json"))["batch_tokens"]
ours, peers = ([run for run in runs if run["engine"] == engine] for engine in ("noso", "transformers"))

def figures(runs):
    ms = [one for run in runs for one in run["ms"]]
    return {"fastest_ms": round(min(ms), 1), "median_ms": round(statistics.median(ms), 1), "tokens_a_second": round(tokens / min(ms) * 1e3),
            "before_mib": max(run["before_mib"] for run in runs), "peak_mib": max(run["peak_mib"] for run in runs),
            "model_mib": max(run["peak_mib"] - run["before_mib"] for run in runs)}

noso, peer = figures(ours), figures(peers)
by = lambda key: round(peer[key] / noso[key], 2)
line = {"date": time.strftime("%Y-%m-%d"), "commit": commit, "threads": 2, "job": job, "length": int(length),
        "sequences": tokens // int(length), "noso": noso, "transformers": peer, "times_the_peer": by("fastest_ms"),
        "times_the_peer_by_median": by("median_ms"), "times_less_memory": by("model_mib")}
line |= {"versions": {key: peers[0][key] for key in ("transformers", "torch")}}
for path in (f"{work}/rows.jsonl", "experiments/results/bench_longformer.jsonl"):
    print(json.dumps(line), file=open(path, "a"))
side = lambda one: f"{one['fastest_ms']:,.0f} ({one['median_ms']:,.0f}) | {one['tokens_a_second']:,}"
memory = lambda one: f"{one['model_mib']:,} + {one['before_mib']:,}"
print(f"| {job} | {tokens // int(length)} × {int(length):,} | {side(noso)} | {side(peer)} | {by('fastest_ms')} "
      f"| {memory(noso)} | {memory(peer)} | {by('model_mib')} |", flush=True)
# Logits are the same but for rounding; the first loss is one of other dropout.
pairs = list(zip(ours[0]["numbers"], peers[0]["numbers"], strict=True))[:None if job == "forward" else 1]
assert all(abs(a - b) < (1e-3 if job == "forward" else 0.15 * b) for a, b in pairs), "the sides compute different numbers"
PY
    done
done
python3 - "$work/rows.jsonl" <<'PY'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
lengths = sorted({row["length"] for row in rows})
print(f"\n| times the cost of a token at {lengths[0]:,}, at | {' | '.join(f'{length:,}' for length in lengths)} |")
print("|---" * (len(lengths) + 1) + "|")
for job in ("forward", "train"):
    of_job = [row for row in rows if row["job"] == job]
    line = {key: rows[0][key] for key in ("date", "commit", "threads")} | {"job": job, "lengths": lengths}
    for engine in ("noso", "transformers"):
        for what, key in (("time", "fastest_ms"), ("memory", "model_mib")):
            growth = [round(row[engine][key] / of_job[0][engine][key], 2) for row in of_job]
            line.setdefault(engine, {})[f"{what}_by_the_shortest"] = growth
            print(f"| {job}: {what}, {engine} | {' | '.join(map(str, growth))} |")
    print(json.dumps(line), file=open("experiments/results/bench_longformer.jsonl", "a"))
PY
