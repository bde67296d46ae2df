#!/usr/bin/env python3
"""The peer of benches/longformer.rs: LongformerForSequenceClassification of transformers at one length.

    longformer.py --make FOLDER                  write a model of random weights, and batches of made-up token ids with labels
    longformer.py FOLDER LENGTH forward|train    time the forward pass alone or whole training steps; print one line of JSON
"""
import json, os, random, sys, time

import torch
import transformers
from transformers import LongformerConfig, LongformerForSequenceClassification

# Tokens of the shortest sequence and of a batch; batches.
SHORTEST, TOKENS, BATCHES = 512, 8192, 3


def make(folder):
    config = LongformerConfig(
        vocab_size=8000, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024, attention_window=512,
        max_position_embeddings=2 + TOKENS, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1, initializer_range=0.05,
        num_labels=68, problem_type="multi_label_classification")
    torch.manual_seed(1)
    LongformerForSequenceClassification(config).save_pretrained(folder)
    draw = random.Random(1)
    texts = {
        "batch_tokens": TOKENS,
        "ids": [draw.randrange(3, config.vocab_size) for _ in range(TOKENS * BATCHES)],
        "labels": [sorted(draw.sample(range(config.num_labels), draw.randint(1, 5))) for _ in range(TOKENS * BATCHES // SHORTEST)],
    }
    with open(f"{folder}/texts.json", "w") as file:
        json.dump(texts, file)


def peak_mib():
    """The most memory that the process ever held."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))


def batches(texts, length, classes):
    """Cuts the token ids into sequences; the first token is global."""
    ids = torch.tensor(texts["ids"]).view(-1, length)
    seen = torch.zeros_like(ids)
    seen[:, 0] = 1
    labels = torch.zeros(len(ids), classes)
    for row, some in zip(labels, texts["labels"]):
        row[some] = 1
    size = texts["batch_tokens"] // length
    for start in range(0, len(ids), size):
        part = slice(start, start + size)
        yield {"input_ids": ids[part], "global_attention_mask": seen[part], "labels": labels[part]}


def forward(model, texts, length):
    model.eval()
    clock, numbers = [], []
    for batch in batches(texts, length, model.config.num_labels):
        del batch["labels"]
        began = time.perf_counter()
        with torch.no_grad():
            logits = model(**batch).logits
        clock.append(time.perf_counter() - began)
        numbers.extend(logits.flatten().tolist())
    return clock, numbers


def train(model, texts, length):
    model.train()
    decays = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW([{"params": decays, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
                                  lr=5e-5)
    clock, losses = [], []
    for batch in batches(texts, length, model.config.num_labels):
        began = time.perf_counter()
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        clock.append(time.perf_counter() - began)
    return clock, losses


def measure(folder, length, work):
    torch.set_num_threads(2)
    torch.manual_seed(1)
    with open(f"{folder}/texts.json") as file:
        texts = json.load(file)
    before = peak_mib()
    model = LongformerForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    clock, numbers = {"forward": forward, "train": train}[work](model, texts, int(length))
    print(json.dumps({"engine": "transformers", "ms": [seconds * 1e3 for seconds in clock[1:]], "numbers": numbers, "before_mib": before,
                      "peak_mib": peak_mib(), "transformers": transformers.__version__, "torch": torch.__version__}))


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    if sys.argv[1] == "--make":
        make(sys.argv[2])
    else:
        measure(*sys.argv[1:])
