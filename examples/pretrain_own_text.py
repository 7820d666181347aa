"""Pre-training from nothing: a small Llama learns the letters of a made-up language, then reads on in a dialect of it.

    python examples/pretrain_own_text.py             on text that is made here
    python examples/pretrain_own_text.py FILE        on a text file of yours

The same on the command line: handloom pretrain FILE --model-type llama --tokenizer character …
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import handloom as hl

STEPS = 60


def made_up(sentences: int, vowels: str, seed: int) -> str:
    """Words of consonants and vowels in turn, so that half of every word can be foreseen."""
    rng = np.random.default_rng(seed)

    def word() -> str:
        return "".join(rng.choice(list("bdgklmnrst")) + rng.choice(list(vowels)) for _ in range(rng.integers(1, 4)))

    return "\n".join(" ".join(word() for _ in range(rng.integers(3, 9))) + "." for _ in range(sentences))


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        text, dialect = folder / "text.txt", folder / "dialect.txt"
        own = Path(sys.argv[1]).read_text("utf-8") if len(sys.argv) > 1 else made_up(600, "aeiou", 0)
        text.write_text(own, "utf-8")
        dialect.write_text(made_up(300, "uo", 1), "utf-8")
        shape = {"model_type": "llama", "layers": 2, "hidden": 64, "heads": 4, "context": 32}
        first = hl.pretrain(text, out=folder / "llama", tokenizer="character", steps=STEPS, lr=3e-3, **shape)
        print(f"from nothing, {STEPS} steps:\n{first.scores}")
        more = hl.pretrain(dialect, model=folder / "llama", out=folder / "more", steps=STEPS, lr=1e-3)
        print(f"the dialect, before and after {STEPS} more:\n{more.scores}")
        assert more.scores is not None and more.scores.before is not None
        assert more.scores["bits_per_byte"] < more.scores.before["bits_per_byte"]


if __name__ == "__main__":
    main()
