"""From what a user calls a model to the folder that holds it."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from handloom import gguf_file
from handloom.errors import HandloomError
from handloom.models import catalogue, hub
from handloom.models.catalogue import Say
from handloom.models.fetch import Progress, Unreachable


def model_folder(name: str | Path, *, offline: bool = False, say: Say | None = None,
                 progress: Progress | None = None) -> Path:
    """The model directory behind a path, a name of the catalogue (`minilm-l6`), or `owner/name` on the hub.

    A folder that exists wins, and so does a GGUF file, which stands for a folder wherever one is read. `say` hears
    size, source and licence before a download. Errors name what is missing and where it was looked for; a name like
    none of these gets the nearest ones.
    """
    text = str(name)
    path = Path(text).expanduser()
    if path.is_dir() or gguf_file.within(path) is not None:
        return path
    if path.is_file():
        raise HandloomError(f"{path}: is a file; a model is a folder with config.json and model.safetensors, or a "
                            ".gguf file")
    if text in catalogue.MODELS:
        return catalogue.obtain(catalogue.MODELS[text], offline=offline, say=say, progress=progress)
    looks_local = isinstance(name, Path) or path.is_absolute() or text.startswith((".", "~")) or text.endswith(os.sep)
    if not looks_local and hub.NAME.fullmatch(text):
        return _from_hub(text, path, offline, say)
    known = ", ".join(catalogue.MODELS)
    near = difflib.get_close_matches(text, [*catalogue.MODELS, *_folders_beside(path)], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise HandloomError(f"no model {text!r}: there is no such folder ({path.absolute()}), the catalogue knows {known}, "
                        f"and models on the hub are written owner/name{hint}")


def _from_hub(name: str, path: Path, offline: bool, say: Say | None) -> Path:
    found = hub.cached(name)
    if found is not None:
        return found
    if offline:
        raise HandloomError(f"no model {name!r}: there is no such folder ({path.absolute()}), huggingface_hub's cache "
                            "does not hold it, and the network was not asked (offline)")
    try:
        return hub.fetch(name, say)
    except Unreachable as error:
        raise HandloomError(f"no model {name!r}: there is no such folder ({path.absolute()}), huggingface_hub's cache "
                            f"does not hold it, and the hub does not answer: {error}. HF_ENDPOINT names a mirror; a "
                            "folder copied here by other means can be named instead") from error


def _folders_beside(path: Path) -> list[str]:
    try:
        return [str(path.parent / found.name) for found in path.parent.iterdir() if found.is_dir()]
    except OSError:
        return []
