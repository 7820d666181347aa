"""Text steered by a judge, such as a classifier of sentiment or topic: block by block, the best of several ways on.

Blockwise best-of-K (Mudgal and others, Controlled Decoding from Language Models, 2024): K texts go on side by side for
a block of tokens, the judge reads them, and all K go on from the best one. A block as long as the text is best-of-K.
The model stays as it is, and a judge that was trained on whole texts will do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handloom.errors import HandloomError, UsageError
from handloom.generate.generator import Generation, Prompt, Writer

Judge = Callable[[Sequence[str]], Sequence[float]]
"""For each text a number, the higher the better."""


@dataclass(frozen=True)
class Steered:
    """generation: the text; score: what the judge gives it; read: how many texts it was shown."""

    generation: Generation
    score: float
    read: int


def steer(
    generator: Writer, prompt: Prompt, judge: Judge, *, candidates: int = 8, block: int = 16,
    max_new_tokens: int | None = None, temperature: float = 1.0, seed: int = 0, **sampling: Any,
) -> Steered:  # fmt: skip
    """The text that a judge likes best of those that are drawn, `candidates` for every `block` tokens.

    The judge reads what was written after the prompt. Raises UsageError for settings that leave nothing to choose from,
    and HandloomError for a judge that does not give every text a finite number.
    """
    if candidates < 2 or block < 1 or not temperature > 0:
        raise UsageError("steering chooses among texts that differ: candidates must be 2 or more, block 1 or more, "
                         "temperature above 0")  # fmt: skip
    begun = generator.encode(prompt)
    most, so_far, read = generator.most(max_new_tokens), np.zeros(0, np.int32), 0
    best, score = Generation("", [], "length"), 0.0
    while len(so_far) < most:
        room = min(block, most - len(so_far))
        found = generator.generate(
            np.concatenate([begun, so_far]).astype(np.int32), max_new_tokens=room, samples=candidates,
            temperature=temperature, seed=(seed + len(so_far)) % 2**64, **sampling,
        )  # fmt: skip
        texts = [best.text + one.text for one in found]
        scores = np.asarray(judge(texts), np.float64)
        read += len(texts)
        if scores.shape != (candidates,) or not np.isfinite(scores).all():
            raise HandloomError(f"a judge gives each of {candidates} texts a finite number, and gave {scores!r:.80}")
        chosen = int(scores.argmax())
        one, score = found[chosen], float(scores[chosen])
        so_far = np.concatenate([so_far, np.asarray(one.ids, np.int32)])
        best = Generation(texts[chosen], so_far.tolist(), one.finish)
        if one.finish != "length":
            break
    return Steered(best, score, read)


def likes(classifier: Any, label: str) -> Judge:
    """A judge by a TextClassifier: how likely it finds the label. Raises UsageError for a label that it has not."""
    labels = classifier.task.known if classifier.task is not None else ()
    if label not in labels:
        raise UsageError(f"the classifier has no label {label!r}; it has {', '.join(labels)}")

    def judge(texts: Sequence[str]) -> list[float]:
        return [float(found.scores[label]) for found in classifier.predict([text or " " for text in texts])]

    return judge
