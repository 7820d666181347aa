"""Any language model by its name, as a Scorer: an n-gram model, a decoder, an encoder–decoder, a masked model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from handloom import gguf_file
from handloom.errors import UsageError
from handloom.generate.generator import Writer
from handloom.models.registry import FAMILIES, load_config
from handloom.models.resolve import model_folder
from handloom.ngram.model import NgramModel
from handloom.pipelines.fill_mask import FillMask
from handloom.scoring import Scorer


def is_ngram(name: str | os.PathLike[str]) -> bool:
    """Whether a name is that of an ARPA file."""
    path = Path(name).expanduser()
    return path.is_file() and gguf_file.within(path) is None


def scorer(
    name: str | os.PathLike[str], *, unit: str | None = None, threads: int | None = None, precision: str = "f32",
    **where: Any,
) -> Scorer:  # fmt: skip
    """The language model of a folder, of an ARPA or GGUF file, a name of the catalogue, or `owner/name` on the hub.

    unit: what a token of an n-gram model is, where its file does not say it ("words"); UsageError with other models.
    """
    if is_ngram(name):
        return NgramModel.load(name, unit)
    if unit is not None:
        raise UsageError("unit is for n-gram models; other models have a tokenizer")
    folder = model_folder(os.fspath(name), **where)
    if "fill-mask" in FAMILIES[load_config(folder).model_type].classes:
        return FillMask(folder, threads, precision)
    return Writer.from_pretrained(folder, threads=threads, precision=precision)
