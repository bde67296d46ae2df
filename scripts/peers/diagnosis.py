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

# Sex, in a table and in an input; appointments: date, age, complaints, tests, conclusion, codes. The last is predicted. The first patient has
# no past, the second one that fits, the third one whose oldest words do not.
NEW = [("female", "женщина", [("2021-03-05", 61, "кашель, насморк, боль в горле третий день", "рентген без изменений", "", "")]),
       ("male", "мужчина", [("2020-02-01", 46, "Давит за грудиной", "", "ГБ II ст., риск 3", "I11.9; I20.8"),
                            ("2021-03-05", 47, "Одышка при ходьбе; отёки к вечеру", "", "", "")]),
       ("female", "женщина", [("2019-05-06", 28, "Жажда, сухость во рту, слабость, частое мочеиспускание, зуд кожи", "HbA1c 8.2 %", "СД 2 типа", "E11.9")] * 4
        + [("2021-03-05", 30, "", "Глюкоза 9.1 ммоль/л", "", "")])]


def make(work):
    rows = list(csv.DictReader(open(work / "simulated/appointments.csv")))
    texts = [" ".join(filter(None, (row["complaints"], row["tests"], row["conclusion"]))) for row in rows]
    (work / "texts.txt").write_text("\n".join(texts) + "\n")
    with open(work / "new.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient", "sex", "date", "age", "complaints", "tests", "conclusion", "codes"])
        table.writerows([f"new{n}", sex, *visit] for n, (sex, _, visits) in enumerate(NEW) for visit in visits)
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


def visit_text(visit):
    """Sections of an appointment under their headings, the first with the date."""
    date, _, *texts = visit
    texts[-1] = texts[-1].replace(";", ",")
    told = [f"{heading}: {text}" for heading, text in zip(("Жалобы", "Обследование", "Заключение", "Коды"), texts) if text]
    return [f"{'.'.join(reversed(date.split('-')))}. {told[0]}", *told[1:]]


def compare(work, name):
    model, tokenizer = load(LongformerForSequenceClassification, work / name), AutoTokenizer.from_pretrained(work / name)
    calibrators = json.loads((work / name / "diagnosis.json").read_text())["decision"]["calibrators"]
    said = {one["patient"]: one["codes"] for one in map(json.loads, open(work / f"{name}.jsonl"))}
    ids_of = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    worst, all_codes = 0.0, []
    sep, most = tokenizer.sep_token_id, json.loads((work / name / "diagnosis.json").read_text())["max_tokens"]
    for number, (_, sex, visits) in enumerate(NEW):
        *past, present = [[one for section in visit_text(visit) for one in ids_of(section)] + [sep] for visit in visits]
        head = [tokenizer.cls_token_id, *ids_of(f"{sex}, возраст {visits[-1][1]}"), sep]
        past = [one for visit in past for one in visit]
        room = most - len(head) - len(present)
        first = [*head, *past[max(0, len(past) - room):]]
        assert (len(past) > room) == (len(visits) > 2), "the long past fits, or another does not"
        ids = torch.tensor([first + present])
        second = int(model.config.type_vocab_size > 1)
        types = torch.tensor([[0] * len(first) + [second] * len(present)])
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
    assert worst < 1e-6, "the probabilities differ"
    assert spread > 1e-3, "the patients do not differ"


def masked(folder):
    config = load(LongformerForMaskedLM, folder).config
    print(f"{folder.name}: a masked language model of {config.max_position_embeddings} positions, windows of {config.attention_window}")


if __name__ == "__main__":
    job, *rest = sys.argv[1:]
    rest[0] = Path(rest[0])
    {"make": make, "compare": compare, "masked": masked}[job](*rest)
