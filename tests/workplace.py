"""A folder as a user has it: a tiny model under the name that the docs use, and labelled files."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handloom.text.chat import PLAIN

SIZES = {"train": 48, "valid": 12, "test": 12}



def loaded(path: str) -> Any:
    name = f"loaded_{Path(path).stem}"  # beside the one that a test in its folder imports
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny_bert, tiny_llama = loaded("train/tiny_bert.py"), loaded("generate/tiny.py")
tiny_bert.OTHER = [*tiny_bert.OTHER, "$", "#"]  # what marks two places


def furnish(folder: Path) -> Path:
    """Puts into `folder`: minilm-l6/ (a BERT of two layers), smollm2-135m-instruct/ (a Llama of two),
    {train,valid,test}.{csv,conll}, new.csv, relations.jsonl, questions.json, faq.csv, exam.jsonl, chats.jsonl. Returns
    it."""
    tiny_bert.write(folder / "minilm-l6")
    tiny_llama.write(folder / "smollm2-135m-instruct")
    opinions, tagged = tiny_bert.opinions(sum(SIZES.values())), tiny_bert.tagged(sum(SIZES.values()))
    begin = 0
    for name, size in SIZES.items():
        write_table(folder / f"{name}.csv", ["text", "label"], opinions[begin : begin + size])
        blocks = ["".join(f"{word}\t{tag}\n" for word, tag in zip(*one, strict=True)) for one in tagged[begin:][:size]]
        (folder / f"{name}.conll").write_text("\n".join(blocks), encoding="utf-8")
        begin += size
    write_table(folder / "new.csv", ["id", "text"], [(str(i), text) for i, (text, _) in enumerate(opinions[:5])])
    related = [
        {"text": f"<e1>{name}</e1> {verb} in <e2>{place}</e2>", "relation": "Other" if verb == "meets" else "At(e1,e2)"}
        for name in tiny_bert.NAMES for place in tiny_bert.PLACES for verb in ("lives", "works", "meets")
    ]  # fmt: skip
    asked = [
        {"question": verb, "context": f"{name} {verb} in {place}", "answers": {"text": [name], "answer_start": [0]}}
        for name in tiny_bert.NAMES for place in tiny_bert.PLACES for verb in ("lives", "works", "meets")
    ]  # fmt: skip
    (folder / "smollm2-135m-instruct" / "chat_template.jinja").write_text(PLAIN, encoding="utf-8")
    said = [{"messages": [{"role": "user", "content": f"Hi {i}"}, {"role": "assistant", "content": "the cat"}]}
            for i in range(20)]  # fmt: skip
    (folder / "chats.jsonl").write_text("\n".join(map(json.dumps, said)), encoding="utf-8")
    (folder / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
    answered = [(text, f"the film is {text.split()[-1]}") for text, _ in opinions]
    write_table(folder / "faq.csv", ["question", "answer"], answered)
    chosen = [
        {"question": f"the film was {word} and", "choices": [good, bad], "answer": int(word in tiny_bert.BAD)}
        for word in (*tiny_bert.GOOD, *tiny_bert.BAD) for good in tiny_bert.GOOD for bad in tiny_bert.BAD
    ]  # fmt: skip
    (folder / "exam.jsonl").write_text("\n".join(map(json.dumps, chosen)), encoding="utf-8")
    (folder / "relations.jsonl").write_text("\n".join(map(json.dumps, related)), encoding="utf-8")
    return folder


def write_table(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])
