#!/usr/bin/env bash
# Measures how many texts a second `noso embed` encodes, and sentence-transformers with the same weights, texts and cores in the same
# run, at 8, 25 and 128 tokens and at mixed lengths. Each is run three times in turn; the best run counts.
#
#     scripts/bench_encoder.sh MODEL_DIR [PYTHON]
#
# MODEL_DIR: an encoder with sentence-transformers' files, such as target/minilm/model, which scripts/minilm.sh fetches. PYTHON has
# sentence-transformers. Appends a JSON line a length to experiments/results/bench_encoder.jsonl; floor 0.7 times the peer, aim 1.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 1; }
. scripts/setup.sh

cargo build --release --no-default-features --features neural --locked
noso="$(realpath "${CARGO_TARGET_DIR:-target}")/release/noso"
work="$(dirname "$(dirname "$noso")")/bench"
mkdir -p "$work" experiments/results
python="${2:-$(dirname "$(dirname "$noso")")/minilm/venv/bin/python}"

best() { sort -n | tail -1; }
for case in 8:8000 25:3000 128:600 mixed:1200; do
    tokens="${case%:*}" count="${case#*:}"
    texts="$work/encode-$tokens.txt" vectors="$work/encode-$tokens.npy"
    "$python" scripts/peers/encode.py texts "$1" "$tokens" "$count" >"$texts"
    rates=() peers=()
    for _ in 1 2 3; do
        rates+=("$("$noso" embed --encoder "$1" --input "$texts" --output "$vectors" 2>&1 | sed -n 's|.* \([0-9.]*\) texts/s$|\1|p')")
        peer="$("$python" scripts/peers/encode.py encode "$1" "$texts" "$vectors" 2>/dev/null)"
        peers+=("$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["texts_a_second"])' "$peer")")
    done
    rate="$(printf '%s\n' "${rates[@]}" | best)" peer_rate="$(printf '%s\n' "${peers[@]}" | best)"
    python3 - "$rate" "$peer_rate" "$peer" "$tokens" "$count" "$(basename "$1")" "$(git rev-parse --short HEAD)" "$(nproc)" <<'PY' |
import json, sys, time
rate, peer_rate, peer, tokens, count, model, commit, cores = sys.argv[1:]
peer = json.loads(peer)
print(json.dumps({"date": time.strftime("%Y-%m-%d"), "commit": commit, "cores": int(cores), "model": model, "tokens": tokens,
                  "texts": int(count), "texts_a_second": float(rate), "peer_texts_a_second": float(peer_rate),
                  "times_the_peer": round(float(rate) / float(peer_rate), 2), "difference": peer["difference"],
                  "sentence_transformers": peer["sentence_transformers"], "torch": peer["torch"]}))
PY
        tee -a experiments/results/bench_encoder.jsonl
done
