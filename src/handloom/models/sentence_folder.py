"""What sentence-transformers keeps beside a model: how its hidden states become the vector of a text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handloom.errors import HandloomError
from handloom.models.config import CONFIG_LIMIT, read_json

MODES = "pooling_mode_"
TOKENS = {"mean": f"{MODES}mean_tokens", "cls": f"{MODES}cls_token"}
MODULES = "modules.json"
POOLING = "1_Pooling"
FILES = (MODULES, POOLING, "sentence_bert_config.json", "config_sentence_transformers.json")
"""What sentence-transformers keeps in a model's folder beside the model."""


@dataclass(frozen=True)
class Recipe:
    """How a folder wants its texts to be encoded: where the transformer lies, the pooling, unit length or not, and
    the most tokens (None: what the model can)."""

    folder: Path
    pooling: str = "mean"
    normalise: bool = True
    max_length: int | None = None


def recipe(folder: Path) -> Recipe:
    """By modules.json and what it names, if the folder is one of sentence-transformers.

    Raises HandloomError for modules and poolings that are not supported.
    """
    listed = folder / MODULES
    if not listed.is_file():  # perhaps it is the module itself, as a finished training names it
        beside = folder.parent / MODULES
        if not (beside.is_file() and folder in [place for place, _ in _modules(beside)]):
            return Recipe(folder)
        folder, listed = folder.parent, beside
    found = Recipe(folder, normalise=False)
    for place, kind in _modules(listed):
        if kind == "Transformer":
            limit = (place / "sentence_bert_config.json").is_file() and read_json(place / "sentence_bert_config.json")
            length = limit.get("max_seq_length") if limit else None
            found = Recipe(place, found.pooling, found.normalise, length if isinstance(length, int) else None)
        elif kind == "Pooling":
            found = Recipe(found.folder, _pooling(place / "config.json"), found.normalise, found.max_length)
        elif kind == "Normalize":
            found = Recipe(found.folder, found.pooling, True, found.max_length)
        else:
            raise HandloomError(f"{listed}: the module {kind} is not supported; "
                                "there are Transformer, Pooling and Normalize")  # fmt: skip
    return found


def _modules(path: Path) -> list[tuple[Path, str]]:
    """(folder, name of the class) of each module, in their order. A module's folder may not leave the model's."""
    if path.stat().st_size > CONFIG_LIMIT:
        raise HandloomError(f"{path}: larger than {CONFIG_LIMIT} bytes, which no honest list of modules is")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found = [(str(entry["path"]), str(entry["type"]).rpartition(".")[2]) for entry in entries]
    except (ValueError, TypeError, KeyError, RecursionError) as problem:
        raise HandloomError(f'{path}: must hold a list of {{"path": …, "type": …}} ({problem!r})') from problem
    for place, _ in found:
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise HandloomError(f"{path}: the module's path {place!r} leads out of the folder")
    return [(path.parent / place, kind) for place, kind in found]


def _pooling(path: Path) -> str:
    wanted = sorted(name for name, on in read_json(path).items() if name.startswith(MODES) and on is True)
    known = {name: pooling for pooling, name in TOKENS.items()}
    if len(wanted) != 1 or wanted[0] not in known:
        raise HandloomError(f"{path}: the pooling {' and '.join(wanted) or 'of nothing'} is not supported; "
                            f"there are {' and '.join(known)}")  # fmt: skip
    return known[wanted[0]]


def files(pooling: str, normalise: bool, width: int, max_length: int) -> dict[str, Any]:
    """By name, the JSON values of the files that say so."""
    kinds = [("", "Transformer"), (POOLING, "Pooling")] + [("2_Normalize", "Normalize")] * normalise
    modules = [
        {"idx": i, "name": str(i), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for i, (place, kind) in enumerate(kinds)
    ]
    modes = {name: name == TOKENS[pooling] for name in (*TOKENS.values(), f"{MODES}max_tokens",
                                                        f"{MODES}mean_sqrt_len_tokens")}  # fmt: skip
    return {
        MODULES: modules,
        f"{POOLING}/config.json": {"word_embedding_dimension": width, **modes},
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "config_sentence_transformers.json": {"similarity_fn_name": "cosine"},
    }
