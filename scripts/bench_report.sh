#!/usr/bin/env bash
# The page of a run of 100,000 made-up documents: seconds, memory, and how long a browser takes to show its first documents.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

made=$(cargo bench --quiet --locked --no-default-features --bench report -- "$folder/report.html" "${1:-100000}")
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
view=null
shown=null
if [ -n "$browser" ]; then
    # The page notes when its first documents stood there.
    dom=$("$browser" --headless --no-sandbox --disable-gpu --timeout=20000 --dump-dom "file://$folder/report.html" 2>/dev/null |
        grep -o 'data-[a-z-]*="[0-9]*"' | head -4)
    view=$(sed -n 's/data-first-view-ms="\([0-9]*\)"/\1/p' <<<"$dom")
    shown=$(sed -n 's/data-shown="\([0-9]*\)"/\1/p' <<<"$dom")
fi
line="{\"date\": \"$(date -u +%F)\", \"commit\": \"$(git rev-parse --short=12 HEAD)\", \"made\": $made, \"first_view_ms\": ${view:-null}, \"documents_shown\": ${shown:-null}}"
echo "$line" | tee -a experiments/results/bench_report.jsonl
