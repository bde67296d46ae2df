#!/usr/bin/env python3
"""The plain Python baseline that a data scientist would write in an afternoon: the peer of Noso's shipped engine.

    python3 scripts/peers/baseline.py RUCCOD_BRAT_DIR DICTIONARY.yaml TEXTS.txt

A CRF over words, affixes and shapes finds mentions (sklearn-crfsuite); TF-IDF of character 1- to 4-grams over titles and
training mentions (scikit-learn) finds the nearest texts, which vote with similarity^8. Trains, then codes TEXTS (a text a
line), and prints one JSON line: documents, seconds of coding, documents a second, seconds of training, peak memory.
"""
import json
import pathlib
import re
import resource
import sys
import time
from collections import Counter, defaultdict

import numpy as np
import sklearn_crfsuite
from sklearn.feature_extraction.text import TfidfVectorizer

TOKEN = re.compile(r"\w+|[^\w\s]")
NEIGHBOURS = 30


def corpus(folder):
    """Yields (text, [(start, end, code)]) of records whose spans match their text; shifted ones are looked for near by."""
    for ann in sorted(folder.glob("*.ann")):
        text = ann.with_suffix(".txt").read_text(encoding="utf-8", errors="replace")
        spans, codes = {}, {}
        for line in ann.read_text(encoding="utf-8", errors="replace").splitlines():
            fields = line.split("\t")
            if line.startswith("T") and len(fields) > 2:
                quoted = fields[2].replace("\\n", "\n").strip()
                start = int(re.split(r"[ ;]", fields[1])[1])
                found = text.find(quoted, max(0, start - 20))
                if quoted and found >= 0:
                    spans[fields[0]] = (found, found + len(quoted))
            elif line.startswith("N") and len(fields) > 2:
                codes[fields[1].split()[1]] = fields[2].strip()
        yield text, [(*spans[name], codes[name]) for name in spans if name in codes]


def shape(word):
    return re.sub(r"\d+", "0", re.sub(r"[а-яёa-z]+", "x", re.sub(r"[А-ЯЁA-Z]+", "X", word)))


def features(words, at):
    out = {"bias": 1.0}
    for offset in (-2, -1, 0, 1, 2):
        if 0 <= at + offset < len(words):
            word = words[at + offset]
            lower = word.lower()
            out[f"{offset}:word"] = lower
            if abs(offset) < 2:
                out |= {f"{offset}:suffix": lower[-3:], f"{offset}:prefix": lower[:4], f"{offset}:shape": shape(word)}
        else:
            out[f"{offset}:edge"] = True
    return out


def tokens(text):
    return [(match.start(), match.end(), match.group()) for match in TOKEN.finditer(text)]


def labels(toks, spans):
    tags = ["O"] * len(toks)
    for start, end, _ in sorted(spans, key=lambda span: span[0] - span[1]):
        inside = [i for i, (a, b, _) in enumerate(toks) if a >= start and b <= end]
        if inside and all(tags[i] == "O" for i in inside):
            for place, i in enumerate(inside):
                tags[i] = "I" if place else "B"
    return tags


class Baseline:
    def __init__(self, records, titles):
        sequences = [tokens(text) for text, _ in records]
        inputs = [[features([t[2] for t in toks], i) for i in range(len(toks))] for toks in sequences]
        tags = [labels(toks, spans) for toks, (_, spans) in zip(sequences, records)]
        self.crf = sklearn_crfsuite.CRF(algorithm="lbfgs", c1=0.1, c2=0.05, max_iterations=80)
        self.crf.fit(inputs, tags)
        rows = [(text[start:end], code) for text, spans in records for start, end, code in spans] + titles
        self.codes = np.array([code for _, code in rows])
        self.tfidf = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, lowercase=True)
        self.matrix = self.tfidf.fit_transform([text for text, _ in rows]).T.tocsr()

    def code(self, text):
        toks = tokens(text)
        if not toks:
            return []
        words = [t[2] for t in toks]
        tags = self.crf.predict_single([features(words, i) for i in range(len(toks))])
        mentions, at = [], 0
        while at < len(toks):
            if tags[at] == "B":
                end = at + 1
                while end < len(toks) and tags[end] == "I":
                    end += 1
                mentions.append((toks[at][0], toks[end - 1][1]))
                at = end
            else:
                at += 1
        return [(start, end, self.link(text[start:end])) for start, end in mentions]

    def link(self, mention):
        scores = (self.tfidf.transform([mention]) @ self.matrix).toarray()[0]
        nearest = np.argpartition(-scores, NEIGHBOURS)[:NEIGHBOURS]
        votes = defaultdict(float)
        for row in nearest:
            votes[self.codes[row]] += scores[row] ** 8
        return max(votes, key=votes.get)


def dictionary(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"^'?([A-Z]\d\d(?:\.\d+)?)'?:\s*(.+)$", line)
        if match:
            yield match[2].strip("'\""), match[1]


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    started = time.perf_counter()
    baseline = Baseline(list(corpus(pathlib.Path(sys.argv[1]))), list(dictionary(pathlib.Path(sys.argv[2]))))
    trained = time.perf_counter()
    texts = pathlib.Path(sys.argv[3]).read_text(encoding="utf-8").splitlines()
    found = Counter(code for text in texts for _, _, code in baseline.code(text))
    seconds = time.perf_counter() - trained
    print(json.dumps({
        "documents": len(texts), "codes": sum(found.values()), "seconds": round(seconds, 3),
        "documents_a_second": round(len(texts) / seconds, 1), "training_seconds": round(trained - started, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }))


if __name__ == "__main__":
    main()
