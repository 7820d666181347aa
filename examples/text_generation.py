"""A model reads programs, and goes on with one: some modules of Python's standard library.

    python examples/text_generation.py                  a tiny model from scratch
    python examples/text_generation.py MODEL FOLDER     a checkpoint, and a source tree of yours
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from handloom import TextGenerator

MODULES = ("bisect", "heapq", "keyword", "token", "reprlib", "colorsys", "stat", "fnmatch", "types", "copy")


def library(folder: Path) -> Path:
    for name in MODULES:
        shutil.copy(Path(sysconfig.get_paths()["stdlib"]) / f"{name}.py", folder)
    return folder


def main(given: list[str]) -> None:
    with tempfile.TemporaryDirectory() as work:
        sources = Path(given[1]) if len(given) > 1 else library(Path(work))
        # the five steps: model and data, task, hyper-parameters, training, evaluation and use
        if given:
            model = TextGenerator.from_pretrained(given[0])
        else:
            model = TextGenerator.new(sources, model_type="gpt2", layers=2, hidden=64, heads=4, context=64,
                                      vocab_size=500)  # fmt: skip
        before = model.evaluate(sources, before=False)["perplexity"]
        model.fit(sources, epochs=3, batch_tokens=1024, lr=3e-3 if not given else 5e-5)
        after = model.evaluate(sources, before=False)["perplexity"]
        print(f"perplexity {before:.1f} → {after:.1f}")
        print(model.generate("def ", max_new_tokens=20, temperature=0.7, seed=1).text)
    assert after < before / 2 or given


if __name__ == "__main__":
    main(sys.argv[1:])
