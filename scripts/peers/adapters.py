#!/usr/bin/env python3
"""Holds adapters on their way between Noso and PEFT against each other; scripts/check_adapter.sh runs it.

    adapters.py make WORK                       tiny models of five architectures, an adapter by PEFT for each, invented notes, jobs for Noso
    adapters.py cases WORK [MODEL ADAPTER]...   write WORK/cases.json: the adapters in WORK, or those named, and prompts
    adapters.py compare WORK                    print a table of what PEFT and Noso make of them; exit code 1 where they differ

The models are those of scripts/fixtures/tiny_models.py. `compare` reads what the test of tests/llm/with_peft.rs wrote: the logits of Noso's own
decoder after every token of a prompt (CASE.safetensors), and the tokens that mistral.rs chose with merged weights (answers.json).
"""
import importlib.util
import json
import pathlib
import random
import shutil
import sys

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

spec = importlib.util.spec_from_file_location("tiny_models", pathlib.Path(__file__).resolve().parents[1] / "fixtures/tiny_models.py")
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

ANSWER_TOKENS = 32
MOST_OFF = 1e-4  # of the largest logit
TIE = 1e-3  # logits that are closer than this may change places by rounding: an answer is compared up to there
CHANGE_TOKENS = 64  # where the tiny Phi-3 changes its rotary factors: transformers starts anew there, mistral.rs ends the answer

# Every projection: more than anybody adapts, so that each is looked at.
TARGETS = {"phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}
USUAL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
JOB = """base = "{model}"
corpus = ["{corpus}"]
device = "cpu"

[[adapter]]
name = "ner"
task = "ner"
prompt = "ner-short-ru"

[[adapter]]
name = "rerank"
task = "rerank"
prompt = "select-short-ru"
candidates = 4

[finetune]
max_tokens = 512

[finetune.lora]
rank = 8
alpha = 16.0
dropout = 0.1
targets = {targets}

[finetune.fit]
epochs = 2
batch = 2
accumulation = 2
learning_rate = 1e-2
"""
DIAGNOSES = {
    "Хронический гастрит": "K29.5", "хр. бронхит": "J42", "Сахарный диабет 2 типа": "E11.9", "артериальная гипертензия": "I10", "Пиелонефрит": "N12",
    "остеохондроз": "M42.9", "Катаракта": "H26.9", "узловой зоб": "E04.1", "ОРВИ": "J06.9", "Варикозная болезнь вен": "I83.9",
}


def write_corpus(folder):
    """Notes of one to three diagnoses, with codes, in brat's form."""
    folder.mkdir()
    draw = random.Random(3)
    for number in range(1, 25):
        text, lines = draw.choice(["", "Осмотр. ", "Диагноз: "]), []
        for at, (words, code) in enumerate(draw.sample(sorted(DIAGNOSES.items()), draw.randint(1, 3)), 1):
            lines.append(f"T{at}\ticd_code {len(text)} {len(text) + len(words)}\t{words}\nN{at}\tReference T{at} ICD_codes:{at}\t{code}\n")
            text += words + draw.choice([", ремиссия. ", "; ", " с 2015 года. "])
        (folder / f"{number}.txt").write_text(text.strip(), encoding="utf-8")
        (folder / f"{number}.ann").write_text("".join(lines), encoding="utf-8")


def write_model(family, folder):
    """The tiny model of a family, with the files beside the weights that the tests keep."""
    folder.mkdir(parents=True)
    for name in ["config.json", "generation_config.json", "tokenizer_config.json"]:
        shutil.copy(tiny.FIXTURES / family / name, folder)
    words = json.loads((tiny.FIXTURES / "tokenizer.json").read_text(encoding="utf-8"))
    first = tiny.FIXTURES / family / "post_processor.json"
    words["post_processor"] = json.loads(first.read_text()) if first.exists() else None
    tiny.dump(folder / "tokenizer.json", words)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="eager")
    tied = model.config.tie_word_embeddings
    shapes = {name: shape for name, shape in tiny.shapes_of(model.state_dict()).items() if not (tied and name == "lm_head.weight")}
    model.load_state_dict(tiny.fill(f"{family}-{tiny.FAMILIES[family]['seed']}", shapes), strict=not tied)
    model.save_pretrained(folder)
    return model


def make(work):
    write_corpus(work / "corpus")
    for family in tiny.FAMILIES:
        folder = work / family
        model = write_model(family, folder / "model")
        torch.manual_seed(7)
        targets = TARGETS.get(family, USUAL)
        # `init_lora_weights=False`: B is drawn, too, where it is zero by default.
        settings = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=targets, init_lora_weights=False)
        get_peft_model(model, settings).save_pretrained(folder / "peft")
        job = JOB.format(model=folder / "model", corpus=work / "corpus", targets=json.dumps(targets))
        (folder / "job.toml").write_text(job, encoding="utf-8")


def cases(work, named):
    if not named:
        named = [(work / family / "model", work / family / adapter) for family in tiny.FAMILIES for adapter in ["noso/ner", "noso/rerank", "peft"]]
    found = []
    for model, adapter in named:
        tokenizer, config = AutoTokenizer.from_pretrained(model), AutoConfig.from_pretrained(model)
        prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in tiny.PROMPTS.values()]
        for words in DIAGNOSES:
            chat = [{"role": "user", "content": f"Выпишите диагнозы: {words}"}]
            prompts.append(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False))
        changes = getattr(config, "original_max_position_embeddings", None) if config.model_type == "phi3" else None
        room = lambda ids: min(ANSWER_TOKENS, changes - len(ids)) if changes and len(ids) < changes else ANSWER_TOKENS
        found.append({"name": f"{len(found)}", "family": config.model_type, "model": str(model), "adapter": str(adapter),
                      "prompts": [{"ids": ids, "answer_tokens": room(ids)} for ids in prompts]})
    tiny.dump(work / "cases.json", found)


def answer(model, prompt):
    """Tokens that the model chooses, up to the first that is no clear choice."""
    ids = torch.tensor([prompt["ids"]])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=prompt["answer_tokens"],
                         return_dict_in_generate=True, output_logits=True)
    best = torch.stack([step[0].topk(2).values for step in out.logits])
    unclear = (best[:, 0] - best[:, 1] < TIE).tolist()
    return out.sequences[0, ids.shape[1]:].tolist()[:unclear.index(True) if True in unclear else None]


def compare(work):
    answers = json.loads((work / "answers.json").read_text())
    print(f"PEFT {peft.__version__}, transformers {transformers.__version__}; f32\n")
    print("| architecture | adapter | what it changes, largest | largest logit | PEFT − Noso, largest | greedy tokens equal, merged in mistral.rs |")
    print("|---|---|---|---|---|---|")
    failed = False
    for case in json.loads((work / "cases.json").read_text()):
        base = AutoModelForCausalLM.from_pretrained(case["model"], dtype="float32", attn_implementation="eager").eval()
        logits = lambda model: [model(torch.tensor([prompt["ids"]])).logits[0] for prompt in case["prompts"]]
        with torch.no_grad():
            bare = logits(base)
            adapted = PeftModel.from_pretrained(base, case["adapter"]).eval()
            theirs = logits(adapted)
            ours = load_file(work / f"{case['name']}.safetensors")
            off = lambda others: max((a - b).abs().max().item() for a, b in zip(theirs, others))
            changed, wrong = off(bare), off([ours[str(at)] for at in range(len(theirs))])
            expected = [answer(adapted, prompt) for prompt in case["prompts"]]
        largest = max(one.abs().max().item() for one in theirs)
        equal = sum(a == b for ids, got in zip(expected, answers[case["name"]]) for a, b in zip(ids, got))
        tokens = sum(map(len, expected))
        folder = pathlib.Path(case["adapter"])
        named = "PEFT's" if folder.name == "peft" else f"Noso's, {folder.name}" if folder.parent.name == "noso" else folder.name
        bad = wrong > MOST_OFF * largest or equal < tokens or changed < 100 * wrong
        failed |= bad
        print(f"| {case['family']} | {named} | {changed:.2f} | {largest:.1f} | {wrong:.1e} | {equal} of {tokens}{' FAILED' if bad else ''} |", flush=True)
    return failed


def main():
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["make", work]:
            make(pathlib.Path(work))
        case ["cases", work, *named]:
            cases(pathlib.Path(work), list(zip(named[::2], named[1::2])))
        case ["compare", work]:
            return compare(pathlib.Path(work))
        case _:
            return __doc__


if __name__ == "__main__":
    sys.exit(main())
