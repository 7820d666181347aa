"""`resume`: whatever a run folder was begun as, it goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping

from handloom.train import estimators, pretraining
from handloom.train.estimator import Estimator
from handloom.train.pretraining import Pretrained
from handloom.train.progress import Listener
from handloom.train.run import RunFolder


def resume(
    run: str | os.PathLike[str],
    threads: int | None = None,
    listener: Listener | None = None,
    moved: Mapping[str, str | os.PathLike[str]] | None = None,
) -> Estimator | Pretrained:
    """See `estimators.resume` and `pretraining.resume`."""
    with RunFolder.open(run) as folder:
        kind = folder.settings().get("kind")
    if kind == "pretraining":
        return pretraining.resume(run, threads, listener, moved)
    return estimators.resume(run, threads, listener, moved)
