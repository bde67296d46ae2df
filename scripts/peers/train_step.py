#!/usr/bin/env python3
"""The peer of benches/train_step.rs: the same training steps in PyTorch and transformers.

    train_step.py --make FOLDER HIDDEN LAYERS HEADS    write a model of random weights and batches of made-up token ids
    train_step.py FOLDER                               train on them, as Trainer does; print one line of JSON
"""
import json, os, random, sys, time

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForTokenClassification

BATCH, STEPS = 32, 12


def make(folder, hidden, layers, heads):
    config = BertConfig(vocab_size=30_000, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                        intermediate_size=4 * hidden, max_position_embeddings=512, num_labels=3)
    torch.manual_seed(1)
    model = BertForTokenClassification(config)
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/config.json", "w") as file:
        file.write(config.to_json_string())
    weights = {name.removeprefix("bert."): tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, f"{folder}/model.safetensors")
    draw = random.Random(1)
    # As sentences of a clinical corpus in word pieces: 45 tokens on average, most between 15 and 100.
    lengths = [min(128, max(6, round(draw.lognormvariate(3.65, 0.55)))) for _ in range(BATCH * STEPS)]
    ids = [[draw.randrange(30_000) for _ in range(length)] for length in lengths]
    labels = [[draw.randrange(3) for _ in sequence] for sequence in ids]
    with open(f"{folder}/batches.json", "w") as file:
        json.dump({"batch": BATCH, "ids": ids, "labels": labels}, file)


def train(folder):
    torch.set_num_threads(2)
    torch.manual_seed(1)
    config = BertConfig.from_pretrained(folder)
    model = BertForTokenClassification(config)
    weights = load_file(f"{folder}/model.safetensors")
    model.load_state_dict({name if name.startswith("classifier") else f"bert.{name}": tensor
                           for name, tensor in weights.items()})
    model.train()
    decays = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimiser = torch.optim.AdamW([{"params": decays, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
                                  lr=5e-5)
    with open(f"{folder}/batches.json") as file:
        batches = json.load(file)
    size, ends, losses, padded_tokens = batches["batch"], [], [], 0
    for start in range(0, len(batches["ids"]), size):
        ids, labels = batches["ids"][start:start + size], batches["labels"][start:start + size]
        longest = max(map(len, ids))
        padded_tokens += size * longest
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        targets = torch.tensor([row + [-100] * (longest - len(row)) for row in labels])
        loss = model(input_ids=padded, attention_mask=mask, labels=targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(round(loss.item(), 6))
        ends.append(time.perf_counter())
    steps = [(b - a) * 1e3 for a, b in zip(ends, ends[1:])]
    padding = round(1 - sum(map(len, batches["ids"])) / padded_tokens, 3)
    print(json.dumps({"engine": f"torch {torch.__version__}", "step_ms": steps, "losses": losses, "padding": padding}))


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        make(sys.argv[2], *map(int, sys.argv[3:6]))
    else:
        train(sys.argv[1])
