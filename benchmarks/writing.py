"""What fine-tuning a decoder does to what it writes: summaries, replies, programs. Quality only; no time is measured.

    python -m benchmarks.writing summaries --model MODEL --data FOLDER      SciTLDR: train.jsonl, test.jsonl
    python -m benchmarks.writing dialogue --data FILE --language chinese    chatterbot-corpus 1.3.3, a wheel from PyPI
    python -m benchmarks.writing programs --model MODEL                     Python's standard library

Every command takes a part of its data (--examples, --test) and says how much it took.
"""

from __future__ import annotations

import argparse
import json
import random
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

from handloom.data.readers import read
from handloom.train.extractive import usual_count
from handloom.train.generators import TextGenerator
from handloom.train.progress import Console
from handloom.train.rewriters import Summarizer


def summaries(asked: argparse.Namespace) -> None:
    """ROUGE of a decoder that is asked for a summary, before and after, beside sentences of the text."""
    rows = [json.loads(line) for line in Path(asked.data, "train.jsonl").read_text("utf-8").splitlines()]
    random.Random(0).shuffle(rows)
    train = [(row["document"], row["summary"]) for row in rows[: asked.examples]]
    lines = Path(asked.data, "test.jsonl").read_text("utf-8").splitlines()[: asked.test]
    test = [{"source": row["document"], "target": row["references"]} for row in map(json.loads, lines)]
    model = Summarizer.from_pretrained(asked.model)
    model.max_length = asked.length
    shown("zero-shot", model.evaluate(test, before=False))
    kept = read(train[: max(len(train) // 10, 2)], "summarization")
    model.fit(train, kept, test, epochs=asked.epochs, lr=asked.lr, batch_size=8, max_length=asked.length,
              before=False, baselines=True, listener=Console())  # fmt: skip
    for name, scores in {**model.baselines, "fine-tuned": model.scores}.items():
        shown(name, scores)
    count = usual_count(read(train, "summarization").examples)
    print(f"{len(train)} examples to learn from, {len(test)} to test on, {count} sentences a summary, {asked.length} "
          "tokens at once")  # fmt: skip


def dialogue(asked: argparse.Namespace) -> None:
    """Perplexity of replies: a model from scratch, or a checkpoint, on pairs of what is said and what is replied."""
    pairs = chatterbot(Path(asked.data), asked.language)
    random.Random(0).shuffle(pairs)
    chats = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in pairs]
    test, train = chats[: asked.test], chats[asked.test : asked.test + asked.examples]
    if asked.model:
        model = TextGenerator.from_pretrained(asked.model)
    else:
        kind = "character" if asked.language == "chinese" else "bpe"
        model = TextGenerator.new(
            train, model_type="llama", layers=4, hidden=128, heads=4, context=128, tokenizer=kind, vocab_size=4000
        )
    model.fit(train, test[: len(test) // 2], test[len(test) // 2 :], epochs=asked.epochs, lr=asked.lr, batch_size=16,
              max_length=min(asked.length, 128), listener=Console())  # fmt: skip
    shown("after", model.scores)
    if model.scores.before is not None:
        shown("before", model.scores.before)
    for chat in test[-5:]:
        print(f"  {chat[0]['content']} → {model.predict(chat[:1])}")
    print(f"{len(train)} exchanges to learn from, {len(test) - len(test) // 2} to test on")


def chatterbot(path: Path, language: str) -> list[tuple[str, str]]:
    """Every exchange of a language: what is said and the reply. The files are lists in YAML, simple enough to be read
    by lines: `- - what is said`, `  - the reply`, and what is a reply is said to the next."""
    found: list[tuple[str, str]] = []
    with zipfile.ZipFile(path) as packed:
        for name in sorted(packed.namelist()):
            if f"/{language}/" not in name or not name.endswith(".yml"):
                continue
            said = ""
            for line in packed.read(name).decode("utf-8").splitlines():
                text = line.strip().lstrip("- ").strip().strip("'\"")
                if line.startswith("- - "):
                    said = text
                elif line.startswith("  - ") and text and said:
                    found.append((said, text))
                    said = text
    return sorted({said: reply for said, reply in found}.items())  # one reply for whatever is said


def programs(asked: argparse.Namespace) -> None:
    """Perplexity of modules of Python's standard library that were held out."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(file for file in folder.glob("*.py") if 2_000 < file.stat().st_size < 40_000)
    random.Random(0).shuffle(files)
    test, train = files[: asked.test], files[asked.test : asked.test + asked.examples]
    texts = [[file.read_text("utf-8") for file in part] for part in (train, test)]
    if asked.model:
        model = TextGenerator.from_pretrained(asked.model)
    else:
        model = TextGenerator.new(
            texts[0], model_type="llama", layers=4, hidden=192, heads=4, context=256, vocab_size=4000
        )
    model.fit(texts[0], texts[1][: len(test) // 2], texts[1][len(test) // 2 :], epochs=asked.epochs, lr=asked.lr,
              batch_size=8, max_length=min(asked.length, 256), listener=Console())  # fmt: skip
    shown("after", model.scores)
    if model.scores.before is not None:
        shown("before", model.scores.before)
    print(f"{len(train)} modules to learn from, tested on {', '.join(file.name for file in test[len(test) // 2 :])}")


def shown(name: str, scores: Any) -> None:
    print(f"{name:<28}" + "  ".join(f"{metric} {value:.3f}" for metric, value in scores.metrics.items()), flush=True)


COMMANDS = {"summaries": summaries, "dialogue": dialogue, "programs": programs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=COMMANDS)
    parser.add_argument("--model", help="a checkpoint; else a small Llama from scratch")
    parser.add_argument("--data", default=".")
    parser.add_argument("--language", default="english")
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--length", type=int, default=512)
    asked = parser.parse_args()
    COMMANDS[asked.what](asked)


if __name__ == "__main__":
    main()
