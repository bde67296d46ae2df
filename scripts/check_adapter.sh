#!/usr/bin/env bash
# Checks that adapters mean the same to Noso and to Hugging Face PEFT: those that `noso train lora` writes, loaded by PEFT, those that PEFT
# writes, used by Noso, and both merged into the base model that mistral.rs runs.
#
#     scripts/check_adapter.sh [PYTHON [MODEL ADAPTER]...]
#
# PYTHON has torch, transformers and peft; default, or "": a virtual environment is made for it. Without a MODEL the adapters are made here:
# for a tiny random Llama, Mistral, Phi-3, Qwen2 and Qwen3 each, Noso trains one a task on invented notes, on every projection, and PEFT
# draws one. All are then used by both, in f32. Prints a line an adapter: the largest difference between the logits of PEFT and of Noso's
# own decoder over the tokens of some prompts, and how many of the tokens that PEFT chooses mistral.rs chooses, too. Exit code 1 if the
# logits differ by more than 1e-4 of the largest one, or a token does.
set -euo pipefail
python="${1:-}"
named=()
for folder in "${@:2}"; do
    named+=("$(realpath "$folder")")
done
cd "$(dirname "$0")/.."
. scripts/setup.sh

target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
work="$target/check_adapter"
fresh "$work"
if [ -z "$python" ]; then
    python="$(python_with "$target/peft-venv" scripts/peers/lora-requirements.txt)"
fi

cargo test --no-run --locked --test tests # builds the command, too
if [ ${#named[@]} -eq 0 ]; then
    "$python" scripts/peers/adapters.py make "$work" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    for job in "$work"/*/job.toml; do
        "$target/debug/noso" train lora --config "$job" --output "$(dirname "$job")/noso"
    done
fi
"$python" scripts/peers/adapters.py cases "$work" "${named[@]}"
NOSO_ADAPTERS="$work" cargo test --locked --test tests llm::with_peft
"$python" scripts/peers/adapters.py compare "$work" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
