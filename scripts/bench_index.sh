#!/usr/bin/env bash
# Measures FAISS factories on a million made-up rows of 256 dimensions: build, load, one query, memory, recall against Flat.
#
#     scripts/bench_index.sh [ROWS] [FACTORY ...]
#
# Rows lie in groups of a hundred within groups of ten (cosine 0.67 within the smallest, 0.5 within the next); each of the 200 queries
# (QUERIES) is a row moved a little. The same numbers every run. Each step is a process of its own, so its peak of memory is its own.
# NOSO=PROGRAM spares the build, THREADS=N builds with more than one. Takes about 10 minutes and 5 GB of disk, half of it on the graphs;
# appends one JSON line a step to experiments/results/bench_index.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
rows="${1:-1000000}"
factories=("${@:2}")
[ ${#factories[@]} -gt 0 ] || factories=(SQ8 IVF1024,Flat IVF1024,SQ8 HNSW16,Flat HNSW8,SQ8)

if [ -z "${NOSO:-}" ]; then
    cargo build --release --no-default-features --locked
    NOSO="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
fi
work="$(dirname "$(dirname "$NOSO")")/bench_index"
fresh "$work"
mkdir -p experiments/results
commit="$(git rev-parse --short HEAD)"

for factory in Flat "${factories[@]}"; do
    bench=("$NOSO" index bench --rows "$rows" --factory "$factory" --exact "$work/exact.json" --folder "$work/index"
        --threads "${THREADS:-1}" --queries "${QUERIES:-200}")
    { "${bench[@]}"; "${bench[@]}"; } | while read -r line; do
        python3 - "$line" "$commit" "$(stat -c %s "$work/index/vectors.faiss")" <<'PY'
import json, sys, time
line = json.loads(sys.argv[1])
print(json.dumps({"date": time.strftime("%Y-%m-%d"), "commit": sys.argv[2], **line, "file_mib": int(sys.argv[3]) >> 20}))
PY
    done | tee -a experiments/results/bench_index.jsonl
    rm -rf "$work/index"
done
