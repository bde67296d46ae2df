#!/usr/bin/env bash
# Splits RuCCoD's training folder by record number, with links: the README's figures are measured on these splits.
#
#     scripts/split.sh RUCCOD_TRAIN_DIR WORK_DIR [LIMIT]
#
# A number that leaves 5 when divided by 6 is in WORK_DIR/dev (500 of 3,000), every other in WORK_DIR/train. Of those, WORK_DIR/tune
# holds the ones that leave 4, to choose settings by, and WORK_DIR/fit the rest. With LIMIT only the first so many records are taken.
set -euo pipefail
corpus="$(realpath "${1:?usage: scripts/split.sh RUCCOD_TRAIN_DIR WORK_DIR [LIMIT]}")"
work="${2:?usage: scripts/split.sh RUCCOD_TRAIN_DIR WORK_DIR [LIMIT]}"
limit="${3:-1000000}"

for split in train dev tune fit; do
    folder="$(realpath -m "$work/$split")"
    # Only links go, so that a corpus in a folder of one of these names stays.
    if [ -d "$folder" ] && [ -n "$(find "$folder" -mindepth 1 ! -type l -print -quit)" ]; then
        echo "error: $folder holds files, not links of an earlier split; choose another WORK_DIR" >&2
        exit 1
    fi
    rm -rf "$folder" && mkdir -p "$folder"
done
find "$corpus" -maxdepth 1 -name '*.txt' | sort -V | sed -n "1,${limit}p" | while read -r text; do
    case $(($(basename "$text" .txt) % 6)) in
        5) splits=(dev) ;;
        4) splits=(train tune) ;;
        *) splits=(train fit) ;;
    esac
    for split in "${splits[@]}"; do ln -s "$text" "${text%.txt}.ann" "$work/$split/"; done
done
