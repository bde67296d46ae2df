#!/usr/bin/env python3
"""Encodes made-up texts with sentence-transformers, as a peer of `noso embed`.

    python3 scripts/peers/encode.py texts MODEL TOKENS COUNT > texts.txt     texts of TOKENS tokens each, or `mixed`: 4 to 128
    python3 scripts/peers/encode.py encode MODEL texts.txt noso.npy          one JSON line: texts a second, difference from Noso

Needs sentence-transformers. The rate is the better one of batches of 32, the default, and 128.
"""
import json
import random
import sys
import time

import numpy
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer

WORDS = """acute chronic pain fever cough fracture left right knee heart kidney stage severe mild stable with without of the and after
injury infection disease diabetes asthma anemia blood pressure high low skin rash upper lower lung liver stone old new follow visit
unspecified other part in for patient treated wound burn eye ear throat swollen joint bone muscle nerve sleep weight loss""".split()


def write_texts(model, tokens, count):
    tokenizer = SentenceTransformer(model, device="cpu").tokenizer
    length = {word: len(tokenizer.tokenize(word)) for word in WORDS}
    draw = random.Random(7)
    for _ in range(count):
        left = (draw.randint(4, 128) if tokens == "mixed" else int(tokens)) - 2
        words = []
        while left > 0:
            word = draw.choice([word for word in WORDS if length[word] <= left])
            words.append(word)
            left -= length[word]
        print(" ".join(words))


def encode(model, texts_file, vectors_file):
    texts = open(texts_file, encoding="utf-8").read().splitlines()
    model = SentenceTransformer(model, device="cpu")
    model.encode(texts[:64])
    rates = {}
    for batch in (32, 128):
        started = time.perf_counter()
        vectors = model.encode(texts, batch_size=batch)
        rates[batch] = len(texts) / (time.perf_counter() - started)
    difference = float(numpy.abs(vectors - numpy.load(vectors_file)).max())
    print(json.dumps({"texts_a_second": round(max(rates.values()), 1), "difference": difference, "threads": torch.get_num_threads(),
                      "sentence_transformers": sentence_transformers.__version__, "torch": torch.__version__}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["texts", model, tokens, count]:
            write_texts(model, tokens, int(count))
        case ["encode", model, texts, vectors]:
            encode(model, texts, vectors)
        case _:
            sys.exit(__doc__)
