#!/usr/bin/env python3
"""The peer of benches/lora_step.rs: the same LoRA fine-tuning steps with PEFT and the Trainer of transformers.

    lora.py --make FOLDER SIZE STEPS [cuda]    write a model of random weights, and texts of made-up token ids
    lora.py FOLDER [cuda]                      train an adapter for it; print one line of JSON

SIZE is 6m or 100m (Llama, f32), phi3-3.8b or llama-8b (bf16). A step is 8 batches of 2 texts, 60 to 768 tokens long, of whose tokens
the last 30 % are the answer.
"""
import json, os, random, sys, time

import torch
import transformers

BATCH, ACCUMULATION, ANSWERS = 2, 8, 0.3
SIZES = {
    "6m": ("llama", dict(vocab_size=4000, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4,
                         tie_word_embeddings=True)),
    "100m": ("llama", dict(vocab_size=32000, hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12,
                           tie_word_embeddings=True)),
    "phi3-3.8b": ("phi3", dict(vocab_size=32064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32, num_attention_heads=32,
                               tie_word_embeddings=False)),
    "llama-8b": ("llama", dict(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
                               num_key_value_heads=8, tie_word_embeddings=False)),
}


def make(folder, size, steps, device="cpu"):
    family, sizes = SIZES[size]
    dtype = torch.bfloat16 if size.endswith("b") else torch.float32
    config = transformers.AutoConfig.for_model(family, max_position_embeddings=4096, pad_token_id=0, **sizes)
    torch.manual_seed(1)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    draw = random.Random(1)
    examples = []
    for _ in range(BATCH * ACCUMULATION * steps):
        length = min(768, max(60, round(draw.lognormvariate(5.4, 0.55))))  # 250 on average
        ids = [draw.randrange(1, config.vocab_size) for _ in range(length)]
        examples.append({"ids": ids, "answer": length - round(ANSWERS * length)})
    with open(f"{folder}/texts.json", "w") as file:
        json.dump({"batch": BATCH, "accumulation": ACCUMULATION, "examples": examples}, file)


def collate(batch):
    longest = max(len(one["ids"]) for one in batch)
    pad = lambda ids, filler: ids + [filler] * (longest - len(ids))
    return {
        "input_ids": torch.tensor([pad(one["ids"], 0) for one in batch]),
        "attention_mask": torch.tensor([pad([1] * len(one["ids"]), 0) for one in batch]),
        "labels": torch.tensor([pad([-100] * one["answer"] + one["ids"][one["answer"]:], -100) for one in batch]),
    }


def peak_mib():
    """The most memory that the process ever held."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))


def train(folder, device="cpu"):
    import peft
    from torch.utils.data import SequentialSampler

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_):
            return SequentialSampler(self.train_dataset)

    class Clock(transformers.TrainerCallback):
        ends, losses = [], []

        def on_step_end(self, args, state, control, **_):
            if device == "cuda":
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())

        def on_log(self, args, state, control, logs=None, **_):
            if "loss" in logs:
                self.losses.append(float(logs["loss"]))

    torch.set_num_threads(int(os.environ.get("THREADS", 2)))
    bare = peak_mib()
    with open(f"{folder}/texts.json") as file:
        texts = json.load(file)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16" if device == "cuda" else "float32").to(device)
    targets = ["qkv_proj"] if model.config.model_type == "phi3" else ["q_proj", "v_proj"]
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=16, lora_dropout=0.1, target_modules=targets))
    arguments = transformers.TrainingArguments(
        os.path.join(folder, "trainer"), num_train_epochs=1, per_device_train_batch_size=texts["batch"],
        gradient_accumulation_steps=texts["accumulation"], learning_rate=5e-5, weight_decay=0.01, lr_scheduler_type="linear", logging_steps=1,
        report_to=[], use_cpu=device == "cpu", bf16=device == "cuda", save_strategy="no", disable_tqdm=True, remove_unused_columns=False)
    clock = Clock()
    InOrder(model=model, args=arguments, train_dataset=texts["examples"], data_collator=collate, callbacks=[clock]).train()
    print(json.dumps({"engine": "peft", "step_s": [b - a for a, b in zip(clock.ends, clock.ends[1:])], "losses": clock.losses,
                      "peak_mib": peak_mib(), "bare_mib": bare, "peft": peft.__version__, "transformers": transformers.__version__,
                      "torch": torch.__version__}))


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    if sys.argv[1] == "--make":
        make(sys.argv[2], sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
    else:
        train(*sys.argv[1:])
