"""Holds models of diagnoses in transformers against those in Noso; scripts/check_longformer.sh runs it.

    diagnosis.py make WORK             writes tiny encoders, texts and a table of new patients
    diagnosis.py compare WORK MODEL    predicts these patients and holds them against WORK/MODEL.jsonl of `noso diagnose`
    diagnosis.py masked FOLDER         loads a masked language model
"""

import csv, json, sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (AutoTokenizer, BertConfig, BertModel, BertTokenizerFast, LongformerConfig, LongformerForMaskedLM,
                          LongformerForSequenceClassification, LongformerModel, RobertaTokenizerFast)

NEW = [("женщина", "female", 61, "кашель, насморк, боль в горле третий день", "рентген без изменений"),
       ("мужчина", "male", 47, "Одышка при ходьбе; отёки к вечеру", ""),
       ("женщина", "female", 30, "", "Глюкоза 9.1 ммоль/л")]
DATE = "2021-03-05"


def make(work):
    rows = list(csv.DictReader(open(work / "simulated/appointments.csv")))
    texts = [" ".join(filter(None, (row["complaints"], row["tests"], row["conclusion"]))) for row in rows]
    (work / "texts.txt").write_text("\n".join(texts) + "\n")
    with open(work / "new.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient", "date", "sex", "age", "complaints", "tests", "conclusion", "codes"])
        table.writerows([f"new{n}", DATE, sex, age, complaints, tests, "", ""] for n, (_, sex, age, complaints, tests) in enumerate(NEW))
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.2}

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.train_from_iterator((text.lower() for text in texts), trainers.WordPieceTrainer(vocab_size=700, special_tokens=special))
    (work / "bert").mkdir()
    words = sorted(pieces.get_vocab().items(), key=lambda one: one[1])
    (work / "bert/vocab.txt").write_text("".join(f"{word}\n" for word, _ in words))
    BertTokenizerFast(vocab=str(work / "bert/vocab.txt"), strip_accents=False).save_pretrained(work / "bert")
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **sizes)).save_pretrained(work / "bert")

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer, pieces.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    pieces.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=700, special_tokens=special, initial_alphabet=alphabet))
    model = json.loads(pieces.to_str())["model"]
    RobertaTokenizerFast(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]]).save_pretrained(work / "longformer")
    config = LongformerConfig(vocab_size=pieces.get_vocab_size(), max_position_embeddings=132, attention_window=[16, 16], pad_token_id=1,
                              bos_token_id=0, eos_token_id=2, type_vocab_size=1, **sizes)
    LongformerModel(config).save_pretrained(work / "longformer")


def load(kind, folder):
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model.eval()


def compare(work, name):
    model, tokenizer = load(LongformerForSequenceClassification, work / name), AutoTokenizer.from_pretrained(work / name)
    calibrators = json.loads((work / name / "diagnosis.json").read_text())["decision"]["calibrators"]
    said = {one["patient"]: one["codes"] for one in map(json.loads, open(work / f"{name}.jsonl"))}
    ids_of = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    worst, all_codes = 0.0, []
    for number, (sex, _, age, complaints, tests) in enumerate(NEW):
        head = [tokenizer.cls_token_id, *ids_of(f"{sex}, возраст {age}"), tokenizer.sep_token_id]
        sections = [f"{heading}: {text}" for heading, text in (("Жалобы", complaints), ("Обследование", tests)) if text]
        sections[0] = "05.03.2021. " + sections[0]
        present = [one for section in sections for one in ids_of(section)] + [tokenizer.sep_token_id]
        ids = torch.tensor([head + present])
        second = int(model.config.type_vocab_size > 1)
        types = torch.tensor([[0] * len(head) + [second] * len(present)])
        to_all = torch.zeros_like(ids)
        to_all[0, 0] = 1
        with torch.no_grad():
            logits = model(ids, token_type_ids=types, attention_mask=torch.ones_like(ids), global_attention_mask=to_all).logits[0].double()
        calibrated = [torch.sigmoid(one["Platt"]["slope"] * logit + one["Platt"]["intercept"]) for one, logit in zip(calibrators, logits)]
        by_code = {model.config.id2label[at]: float(one) for at, one in enumerate(calibrated)}
        all_codes.append(by_code)
        codes = said[f"new{number}"]
        assert {one["code"] for one in codes} == set(by_code), "other codes"
        worst = max([worst, *(abs(one["probability"] - by_code[one["code"]]) for one in codes)])
    spread = min(max(abs(one[code] - other[code]) for code in one) for one, other in zip(all_codes, all_codes[1:]))
    print(f"{name}: {len(calibrators)} codes of {len(NEW)} patients, largest difference of a probability {worst:.1e}, "
          f"from patient to patient {spread:.1e} or more")
    assert worst < 1e-5, "the probabilities differ"
    assert spread > 1e-3, "the patients do not differ"


def masked(folder):
    config = load(LongformerForMaskedLM, folder).config
    print(f"{folder.name}: a masked language model of {config.max_position_embeddings} positions, windows of {config.attention_window}")


if __name__ == "__main__":
    job, *rest = sys.argv[1:]
    rest[0] = Path(rest[0])
    {"make": make, "compare": compare, "masked": masked}[job](*rest)
