#!/usr/bin/env python3
"""Answers chats with transformers' `generate`: the peer of Noso's language model engine.

    python3 scripts/peers/generate.py MODEL EXCHANGES.jsonl [--batch N] [--device cuda] [--dtype bfloat16]
    python3 scripts/peers/generate.py --make tiny|0.5b|7b FOLDER

A line of EXCHANGES holds `messages` (the chat) and `answer_tokens` (how many tokens the answer shall have, chosen greedily);
`scripts/bench_llm.sh` writes there what Noso asked, so that both do the same work. A batch takes the longest answer of its
chats. Prints one JSON line: chats, tokens of prompts and answers without padding, seconds after one chat to warm up.

`--make` writes a model with random weights: of the size of Qwen2.5-0.5B or -7B, or of a few hundred KB, with the tokenizer of the
tests, whose 448 tokens alone are ever answered.
"""
import argparse
import json
import pathlib
import shutil
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/llm"
SIZES = {
    "tiny": ("llama", {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "num_key_value_heads": 2, "vocab_size": 448, "tie_word_embeddings": False}),
    "0.5b": ("qwen2", {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
                       "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
                       "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
    "7b": ("qwen2", {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
                     "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
                     "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
}


def make(size, folder):
    family, sizes = SIZES[size]
    settings = json.loads((FIXTURES / family / "config.json").read_text())
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(family, max_position_embeddings=32768, bos_token_id=settings["bos_token_id"],
                                               eos_token_id=settings["eos_token_id"], dtype="float32", **sizes)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # no token that the tokenizer lacks has a logit other than 0
        model.get_input_embeddings().weight[448:] = 0
    if size == "7b":
        model.to(torch.bfloat16)  # as such models are published; the others are compared on the CPU, in f32
    model.save_pretrained(folder)
    for path in [FIXTURES / family / "tokenizer_config.json", FIXTURES / "tokenizer.json"]:
        shutil.copy(path, folder)


def load(arguments):
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=arguments.dtype)
    return tokenizer, model.to(arguments.device).eval()


def answer(tokenizer, model, chats):
    """Answers chats side by side; returns how many tokens their prompts and answers have."""
    texts = [tokenizer.apply_chat_template(chat["messages"], add_generation_prompt=True, tokenize=False) for chat in chats]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    longest = max(chat["answer_tokens"] for chat in chats)
    model.generate(**inputs, do_sample=False, max_new_tokens=longest, min_new_tokens=longest, pad_token_id=tokenizer.pad_token_id)
    return int(inputs["attention_mask"].sum()), sum(chat["answer_tokens"] for chat in chats)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("exchanges", metavar="EXCHANGES.jsonl", nargs="?")
    parser.add_argument("--make", choices=SIZES)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    if arguments.make:
        return make(arguments.make, arguments.model)
    if not arguments.exchanges:
        parser.error("EXCHANGES.jsonl is needed")
    tokenizer, model = load(arguments)
    chats = [json.loads(line) for line in pathlib.Path(arguments.exchanges).read_text(encoding="utf-8").splitlines()]
    answer(tokenizer, model, chats[:1])
    started = time.perf_counter()
    counts = [answer(tokenizer, model, chats[at:at + arguments.batch]) for at in range(0, len(chats), arguments.batch)]
    if arguments.device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    print(json.dumps({"chats": len(chats), "prompt_tokens": sum(count[0] for count in counts),
                      "answer_tokens": sum(count[1] for count in counts), "seconds": round(seconds, 3),
                      "transformers": transformers.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    sys.exit(main())
