#!/usr/bin/env python3
"""Writes made-up diagnosis texts, one a line, all distinct, in the manner of Russian out-patient conclusions.

    python3 scripts/bench_texts.py COUNT [SEED] > texts.txt

Diagnoses come from the shipped catalogue's wordings, varied by stage, side, course, order and typing errors, so that most
mentions are in no index. About 90 characters and three diagnoses a text, as in RuCCoD. Needs only Python 3.
"""
import pathlib
import random
import sys

CATALOG = pathlib.Path(__file__).parent.parent / "indexes/default/catalog.tsv"
BEFORE = ["", "", "", "", "Хронический ", "хр. ", "Острый ", "Подозрение на ", "Диагноз: ", "Основной: ", "Соп.: "]
AFTER = ["", "", "", " слева", " справа", " 1 ст.", " 2 ст", " легкой степени", ", обострение", ", ремиссия", " вне обострения",
         ", нестойкая ремиссия", " (впервые выявленный)", " с болевым синдромом", " от 12.03.2019", ", стадия 2", " средней тяжести"]
BETWEEN = [". ", ". ", ". ", ", ", "; ", ".", "\\ ", " "]
LETTERS = "абвгдежзийклмнопрстуфхцчшщыьэюя"


def wordings():
    """Titles and synonyms of up to 40 characters, from the chapters that out-patient doctors use."""
    found = []
    for line in CATALOG.read_text(encoding="utf-8").splitlines()[1:]:
        code, title, synonyms = (line.split("\t") + ["", ""])[:3]
        if code[0] in "DEGHIJKLMN" and synonyms:
            found += [text for text in [title, *synonyms.split(";")] if 3 < len(text) <= 40]
    return found


def misspelt(text, rng):
    at = rng.randrange(len(text))
    return rng.choice([text[:at] + text[at + 1:], text[:at] + rng.choice(LETTERS) + text[at:], text[:at] + text[at:at + 1] + text[at:]])


def diagnosis(texts, rng):
    text = rng.choice(texts)
    if rng.random() < 0.4:
        text = misspelt(text, rng)
    text = rng.choice(BEFORE) + text + rng.choice(AFTER)
    return text[:1].upper() + text[1:] if rng.random() < 0.7 else text


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    count, rng = int(sys.argv[1]), random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    texts, seen = wordings(), set()
    while len(seen) < count:
        line = diagnosis(texts, rng)
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3])):
            line += rng.choice(BETWEEN) + diagnosis(texts, rng)
        if line not in seen:
            seen.add(line)
            print(line)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.stderr.close()
