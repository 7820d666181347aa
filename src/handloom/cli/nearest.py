"""What was probably meant by a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 10  #: names that are listed at most where none resembles what was written

#: What other programs call our options, and usual short forms.
SYNONYMS = {
    "--learning-rate": "--lr", "--learningrate": "--lr", "--rate": "--lr", "--batch": "--batch-size",
    "--bs": "--batch-size", "--train-batch-size": "--batch-size", "--epoch": "--epochs", "--num-epochs": "--epochs",
    "--num-train-epochs": "--epochs", "--output": "--out", "--output-dir": "--out", "--out-dir": "--out",
    "--save": "--out", "--optim": "--optimizer", "--optimiser": "--optimizer", "--lr-scheduler": "--schedule",
    "--scheduler": "--schedule", "--warmup-steps": "--warmup", "--warmup-ratio": "--warmup",
    "--decay": "--weight-decay", "--wd": "--weight-decay", "--max-grad-norm": "--clip",
    "--max-seq-length": "--max-length", "--smoothing": "--label-smoothing", "--early-stopping": "--patience",
    "--validation": "--valid", "--dev": "--valid", "--eval": "--valid",
    "--model-name": "--model", "--text": "--text-column", "--label": "--label-column",
    "--pair": "--pair-column", "--separator": "--delimiter", "--sep": "--delimiter", "--force": "--overwrite",
    "--workers": "--threads", "--file": "--data", "--input": "--data",
}  # fmt: skip


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most resembles, or None if none does.

    >>> nearest("token-clasification", ["text-classification", "token-classification"])
    'token-classification'
    >>> nearest("ner", ["text-classification", "token-classification"])
    """
    names = list(known)
    meant = SYNONYMS.get(name.lower().replace("_", "-"))
    if meant in names:
        return meant
    found = get_close_matches(name, names, n=1, cutoff=0.6) or [known for known in names if known.startswith(name)]
    if not found and name.startswith("--"):  # a synonym that is misspelt, too
        near = get_close_matches(name, [word for word, ours in SYNONYMS.items() if ours in names], n=1, cutoff=0.75)
        found = [SYNONYMS[word] for word in near]
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: what was probably meant, else all that there is, if that is not much.

    >>> did_you_mean("trian", ["train", "predict"])
    '; did you mean train?'
    >>> did_you_mean("xyz", ["train", "predict"])
    '; there are train, predict'
    """
    names = list(known)
    guess = nearest(name, names)
    if guess:
        return f"; did you mean {guess}?"
    return f"; there are {', '.join(names)}" if len(names) <= SHOWN else ""
