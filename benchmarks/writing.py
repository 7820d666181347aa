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

from benchmarks.figures import begin, keep, options
from handloom.data.readers import read
from handloom.tasks.scores import Scores
from handloom.train.extractive import usual_count
from handloom.train.generators import TextGenerator
from handloom.train.progress import Console
from handloom.train.rewriters import Summarizer

Found = dict[str, Scores | None]
"""Scores by what was measured."""


def summaries(asked: argparse.Namespace) -> Found:
    """ROUGE of a decoder that is asked for a summary, before and after, beside sentences of the text."""
    rows = [json.loads(line) for line in Path(asked.data, "train.jsonl").read_text("utf-8").splitlines()]
    random.Random(0).shuffle(rows)
    pairs = [(row["document"], row["summary"]) for row in rows]
    train, held = pairs[: asked.examples], pairs[asked.examples :][: max(asked.examples // 10, 2)]
    lines = Path(asked.data, "test.jsonl").read_text("utf-8").splitlines()[: asked.test]
    test = [{"source": row["document"], "target": row["references"]} for row in map(json.loads, lines)]
    model = Summarizer.from_pretrained(asked.model, threads=asked.threads)
    model.max_length = asked.length
    zero_shot = model.evaluate(test, before=False)
    model.fit(train, held, test, epochs=asked.epochs, lr=asked.lr, batch_size=8, max_length=asked.length,
              before=False, baselines=True, listener=Console())  # fmt: skip
    count = usual_count(read(train, "summarization").examples)
    print(f"{len(train)} examples to learn from, {len(test)} to test on, {count} sentences a summary, {asked.length} "
          "tokens at once")  # fmt: skip
    return {"zero-shot": zero_shot, **model.baselines, "fine-tuned": model.scores}


def dialogue(asked: argparse.Namespace) -> Found:
    """Perplexity of replies: a model from scratch, or a checkpoint, on pairs of what is said and what is replied."""
    pairs = chatterbot(Path(asked.data), asked.language)
    random.Random(0).shuffle(pairs)
    chats = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in pairs]
    test, train = chats[: asked.test], chats[asked.test : asked.test + asked.examples]
    if asked.model:
        model = TextGenerator.from_pretrained(asked.model, threads=asked.threads)
    else:
        kind = "character" if asked.language == "chinese" else "bpe"
        model = TextGenerator.new(
            train,
            model_type="llama",
            layers=4,
            hidden=128,
            heads=4,
            context=128,
            tokenizer=kind,
            vocab_size=4000,
            threads=asked.threads,
        )
    model.fit(train, test[: len(test) // 2], test[len(test) // 2 :], epochs=asked.epochs, lr=asked.lr, batch_size=16,
              max_length=min(asked.length, 128), listener=Console())  # fmt: skip
    for chat in test[-5:]:
        print(f"  {chat[0]['content']} → {model.predict(chat[:1])}")
    print(f"{len(train)} exchanges to learn from, {len(test) - len(test) // 2} to test on")
    return {"before": model.scores.before, "after": model.scores}


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


def programs(asked: argparse.Namespace) -> Found:
    """Perplexity of modules of Python's standard library that were held out."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(file for file in folder.glob("*.py") if 2_000 < file.stat().st_size < 40_000)
    random.Random(0).shuffle(files)
    test, train = files[: asked.test], files[asked.test : asked.test + asked.examples]
    texts = [[file.read_text("utf-8") for file in part] for part in (train, test)]
    if asked.model:
        model = TextGenerator.from_pretrained(asked.model, threads=asked.threads)
    else:
        model = TextGenerator.new(
            texts[0],
            model_type="llama",
            layers=4,
            hidden=192,
            heads=4,
            context=256,
            vocab_size=4000,
            threads=asked.threads,
        )
    model.fit(texts[0], texts[1][: len(test) // 2], texts[1][len(test) // 2 :], epochs=asked.epochs, lr=asked.lr,
              batch_size=8, max_length=min(asked.length, 256), listener=Console())  # fmt: skip
    print(f"{len(train)} modules to learn from, tested on {', '.join(file.name for file in test[len(test) // 2 :])}")
    return {"before": model.scores.before, "after": model.scores}


COMMANDS = {"summaries": summaries, "dialogue": dialogue, "programs": programs}


def main() -> None:
    parser = options(__doc__ or "")
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
    if asked.quick:
        asked.examples, asked.test, asked.epochs = 12, 6, 1
    figures = begin(f"What fine-tuning does to {asked.what}", asked.threads)
    found = {name: scores.metrics for name, scores in COMMANDS[asked.what](asked).items() if scores is not None}
    for name, metrics in found.items():
        print(f"{name:<28}" + "  ".join(f"{metric} {value:.3f}" for metric, value in metrics.items()))
    keep({**figures, **found}, asked.json)


if __name__ == "__main__":
    main()
