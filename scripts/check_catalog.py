#!/usr/bin/env python3
"""Compares the codes and titles of the shipped catalogue with a reference dictionary, as a proof-reader would.

    python3 scripts/check_catalog.py REFERENCE.yaml [TRAINING_BRAT_DIR]

Prints codes that the reference does not know, categories and training codes that the catalogue lacks, and titles that share
few word stems with the reference's. For people who look after the catalogue; not part of the tests. Needs only Python 3.
"""
import collections
import difflib
import pathlib
import re
import sys

CATALOG = pathlib.Path(__file__).parent.parent / "indexes/default/catalog.tsv"
DIVERGING = 0.45


def reference_titles(path):
    """Reads a flat `code: title` YAML whose long titles go on in indented lines."""
    titles, code = {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"^'?([^\s:']+)'?:\s*(.*)$", line)
        if match:
            code = match[1]
            titles[code] = match[2].strip("'\"")
        elif code and line.startswith(" "):
            titles[code] += " " + line.strip().strip("'\"")
    return titles


def stems(title):
    words = re.findall(r"[а-яa-z0-9]+", title.lower().replace("ё", "е"))
    return {word[:5] for word in words if len(word) > 2}


def likeness(ours, theirs):
    """Share of stems in common, or likeness of characters where that is higher: word forms differ between editions."""
    a, b = stems(ours), stems(theirs)
    shared = len(a & b) / max(1, min(len(a), len(b)))
    return max(shared, difflib.SequenceMatcher(None, ours.lower(), theirs.lower()).ratio())


def training_codes(folder):
    codes = collections.Counter()
    for path in folder.glob("*.ann"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            fields = line.split("\t")
            if line.startswith("N") and len(fields) > 2 and fields[2].strip():
                codes[fields[2].strip()] += 1
    return codes


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    reference = reference_titles(pathlib.Path(sys.argv[1]))
    rows = [line.split("\t") for line in CATALOG.read_text(encoding="utf-8").splitlines()[1:]]
    ours = {row[0]: row[1] for row in rows}
    unknown = [code for code in ours if code not in reference]
    categories = [code for code in reference if re.fullmatch(r"[A-Z]\d\d", code)]
    missing = [code for code in categories if code not in ours]
    trained = training_codes(pathlib.Path(sys.argv[2])) if len(sys.argv) > 2 else {}
    untrained = [code for code in trained if code not in ours]
    diverging = sorted(
        (likeness(title, reference[code]), code, title, reference[code])
        for code, title in ours.items()
        if code in reference and likeness(title, reference[code]) < DIVERGING
    )
    print(f"{len(ours)} codes here, {len(reference)} in the reference")
    print(f"unknown to the reference ({len(unknown)}):", *unknown)
    print(f"categories missing here ({len(missing)}):", *missing)
    print(f"training codes missing here ({len(untrained)}):", *untrained)
    print(f"titles alike by less than {DIVERGING} ({len(diverging)}):")
    for score, code, title, other in diverging:
        print(f"  {score:.2f} {code}\n    here:      {title}\n    reference: {other}")


if __name__ == "__main__":
    main()
