#!/usr/bin/env bash
# Measures speed, start-up, memory and size of the shipped engine; with a corpus also the Python peer, in the same run.
#
#     scripts/bench.sh [RUCCOD_TRAIN_DIR DICTIONARY.yaml]
#
# All texts are made up and distinct (scripts/bench_texts.py). Appends one JSON line to experiments/results/bench.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
command -v python3 >/dev/null || { echo "error: python3 is needed to write the texts" >&2; exit 1; }

cargo build --release --no-default-features --locked
noso="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
work="$(dirname "$(dirname "$noso")")/bench"
mkdir -p "$work" experiments/results
texts="$work/texts.txt"
python3 scripts/bench_texts.py 50000 1 >"$texts"

# Speed: the best of three runs over 50,000 texts, JSON lines out; each run prints its own rate.
rates=()
for _ in 1 2 3; do
    "$noso" code --input "$texts" --input-format lines --output "$work/out.jsonl" --output-format jsonl 2>"$work/log"
    rates+=("$(sed -n 's/.* \([0-9]*\) documents\/s$/\1/p' "$work/log")")
done
rate="$(printf '%s\n' "${rates[@]}" | sort -n | tail -1)"

# Start-up to first result: the median of 21 runs on one text. Memory: the peak of a run over all texts.
python3 - "$noso" "$texts" "$work" <<'PY' >"$work/measured.json"
import json, resource, statistics, subprocess, sys, time
noso, texts, work = sys.argv[1:]
def once():
    started = time.perf_counter()
    subprocess.run([noso, "code", "Хронический гастрит, ремиссия"], check=True, capture_output=True)
    return (time.perf_counter() - started) * 1000
milliseconds = [once() for _ in range(21)]
small = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
subprocess.run([noso, "code", "--input", texts, "--input-format", "lines", "--output", work + "/out.csv",
                "--output-format", "csv"], check=True, capture_output=True)
print(json.dumps({"start_up_ms": round(statistics.median(milliseconds), 1), "peak_mib_one_text": round(small, 1),
                  "peak_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1)}))
PY

peer='{}'
if [ $# -ge 2 ]; then
    python="$(python_with "$work/venv" scripts/peers/requirements.txt)"
    head -500 "$texts" >"$work/peer.txt"
    peer="$("$python" scripts/peers/baseline.py "$1" "$2" "$work/peer.txt")"
fi

shipped="$(cat models/default/*.bin indexes/default/* | wc -c)"
python3 - "$rate" "$shipped" "$work/measured.json" "$peer" "$(git rev-parse --short HEAD)" "$(nproc)" <<'PY' | tee -a experiments/results/bench.jsonl
import json, sys, time
rate, shipped, measured, peer, commit, cores = sys.argv[1:]
peer = json.loads(peer)
line = {"date": time.strftime("%Y-%m-%d"), "commit": commit, "cores": int(cores), "documents_a_second": int(rate),
        **json.load(open(measured)), "shipped_mb": round(int(shipped) / 1e6, 2)}
if peer:
    line |= {"peer_documents_a_second": peer["documents_a_second"], "peer_peak_mib": peer["peak_mib"],
             "times_the_peer": round(int(rate) / peer["documents_a_second"], 1)}
print(json.dumps(line))
PY
