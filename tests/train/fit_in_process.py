"""Run by test_resume.py: fit on toy data, and die at a chosen point.

    python fit_in_process.py MODEL DATA OUT POINT SIGNAL [options as JSON]
POINT: a name that the loop's hook is called with, or "write NAME" for the moment after that file of a checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from handloom.errors import HandloomError
from handloom.train import loop, storage
from handloom.train.estimators import TextClassifier
from handloom.train.progress import silent

model, data, out, point, name, options = sys.argv[1:]
number = getattr(signal, name)
checkpoints = [0]


def die(where: str) -> None:
    if where == point:
        os.kill(os.getpid(), number)


def write_blocks(path: Path, blocks: object) -> object:
    found = write(path, blocks)
    if path.name == "weights.safetensors":
        checkpoints[0] += 1
    die(f"write {path.name} {checkpoints[0]}")
    return found


loop.hook = die
loop.CHECKPOINT_SECONDS = loop.CHECKPOINT_SHARE = 0.0  # after every step
write = storage.write_blocks
storage.write_blocks = write_blocks  # type: ignore[assignment]
try:
    TextClassifier.from_pretrained(model).fit(
        data, test=data, out=out, listener=silent, baselines=False, **json.loads(options)
    )
except HandloomError as problem:
    print(problem, file=sys.stderr)
    sys.exit(problem.exit_code)
