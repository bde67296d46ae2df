#!/usr/bin/env bash
# Builds Noso with its encoders and repeats the paper's study of automatic labels: makes up records, labels them, trains models on either label set, writes a page.
#
#     scripts/study.sh [CONFIG] [DIR]
#
# CONFIG is experiments/diagnosis.toml, on made-up patients; a copy that names a table of yours does the same with it. DIR (study) is where
# index.html comes to lie; a run that was cut off goes on.
set -euo pipefail
config="$(realpath "${1:-$(dirname "$0")/../experiments/diagnosis.toml}")"
output="$(realpath -m "${2:-study}")"
cd "$(dirname "$0")/.."
. scripts/setup.sh

cargo build --release --no-default-features --features neural,parquet --locked
"${CARGO_TARGET_DIR:-target}/release/noso" diagnosis study --config "$config" --output "$output"
echo "Look at it: $output/index.html" >&2
