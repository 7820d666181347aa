"""Checkpoints of a run: the state of training after a step, from which it goes on bit for bit.

    checkpoints/step-00000120/  weights.safetensors  moments.safetensors  state.json  manifest.json

A checkpoint is published in one step (see storage.py): after `kill -9` there is the old one or the new one, never half.
The newest is kept, and the one with the best validation score, whose weights `keep="best"` returns to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from handloom.errors import HandloomError
from handloom.train.storage import Array, complete, publish_folder, safetensors_blocks

_NAME = re.compile(r"step-(\d{8})")


@dataclass
class State:
    """Everything beside weights and moments that decides what comes next."""

    step: int = 0  #: optimiser steps done
    log_bytes: int = 0  #: length of log.jsonl that belongs to this state
    best_metric: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    waited: int = 0  #: validations since the best
    loss_sum: float = 0.0  #: loss since the last validation, as (sum, weight)
    loss_weight: float = 0.0
    skipped: int = 0  #: steps that were not applied
    seconds: float = 0.0  #: training time so far
    tokens: int = 0  #: real tokens trained on so far
    history: list[dict[str, Any]] = field(default_factory=list)  #: one entry a validation


def step_folder(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def save_checkpoint(folder: Path, state: State, weights: Mapping[str, Array], moments: Mapping[str, Array]) -> Path:
    """Publish a checkpoint under `folder` and remove those that are no longer needed. Returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    place = step_folder(folder, state.step)
    publish_folder(
        place,
        {
            "weights.safetensors": safetensors_blocks(weights),
            "moments.safetensors": safetensors_blocks(moments),
            "state.json": [json.dumps(asdict(state)).encode()],
        },
    )
    prune(folder, {state.step, state.best_step})
    return place


def prune(folder: Path, keep: set[int | None]) -> None:
    """Remove all checkpoints but those of the steps in `keep`, and what interrupted writers left."""
    for place in folder.iterdir():
        match = _NAME.fullmatch(place.name)
        if (match and int(match[1]) not in keep) or place.name.endswith(".tmp"):
            # renamed first: a half-removed folder must not bear a checkpoint's name
            gone = place if not match else place.rename(folder / f".{place.name}.{os.getpid()}.tmp")
            shutil.rmtree(gone, ignore_errors=True)


def latest(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest checkpoint whose files are whole, or None; and those newer than it, which are damaged."""
    damaged: list[Path] = []
    if folder.is_dir():
        for place in sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True):
            if complete(place):
                return place, damaged
            damaged.append(place)
    return None, damaged


def load_state(place: Path) -> State:
    try:
        return State(**json.loads((place / "state.json").read_text("utf-8")))
    except (ValueError, TypeError, OSError) as problem:
        raise HandloomError(f"{place / 'state.json'} cannot be read: {problem}") from problem


def load_weights(place: Path) -> dict[str, Array]:
    return dict(load_file(place / "weights.safetensors"))


def load_moments(place: Path) -> dict[str, Array]:
    return dict(load_file(place / "moments.safetensors"))
