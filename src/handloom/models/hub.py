"""Models by `owner/name` from the hub, through huggingface_hub: its cache, its token, its HF_ENDPOINT mirrors.

Only weights, configuration and the tokenizer's text files are asked for: no code, no pickle.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handloom.errors import HandloomError
from handloom.models.fetch import Unreachable, reachable
from handloom.models.notice import Notice

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WANTED = ("config.json", "handloom.json", "model.safetensors", "model-*-of-*.safetensors",
          "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
          "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt")
NEEDED = "config.json"

PICKLE_ONLY = """{name} on the hub has its weights only as a pickle, which can run code when it is read; \
Handloom reads safetensors only.
Convert it once, where PyTorch and transformers are installed and you trust the model's owner:

    from transformers import AutoModel, AutoTokenizer
    AutoModel.from_pretrained({name!r}).save_pretrained("converted", safe_serialization=True)
    AutoTokenizer.from_pretrained({name!r}).save_pretrained("converted")

and name the folder "converted" instead."""


def endpoint() -> str:
    """The hub's address, or the mirror's that HF_ENDPOINT names."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT).rstrip("/")


def cached(name: str) -> Path | None:
    """The folder of a model that huggingface_hub has in its cache, whole as far as it can tell, else None."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=list(WANTED), ignore_patterns=["*/*"],
                                                        local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    weights = any((folder / file).is_file() for file in ("model.safetensors", "model.safetensors.index.json"))
    return folder if weights and (folder / NEEDED).is_file() else None


def fetch(name: str, say: Callable[[Notice], None] | None = None) -> Path:
    """The folder of `owner/name`, fetched into huggingface_hub's cache; what is there already is not fetched again.

    Raises Unreachable where the hub does not answer, HandloomError where it has no such model or only a pickle.
    """
    import huggingface_hub

    info = _asked(name, lambda: huggingface_hub.HfApi().model_info(name, files_metadata=True, timeout=15))
    files = {file.rfilename: int(file.size or 0) for file in info.siblings or []}
    wanted = {file: size for file, size in files.items()
              if "/" not in file and any(fnmatch.fnmatchcase(file, pattern) for pattern in WANTED)}
    if not any(file.endswith(".safetensors") for file in wanted):
        if any(fnmatch.fnmatchcase(file, "pytorch_model*.bin") for file in files):
            raise HandloomError(PICKLE_ONLY.format(name=name))
        raise HandloomError(f"{name} on the hub holds no model.safetensors (it holds: {', '.join(sorted(files)[:10])})")
    licence = getattr(info.card_data, "license", None) if info.card_data is not None else None
    if say is not None:
        say(Notice(name, sum(wanted.values()), (f"{endpoint()}/{name}",), str(licence or "not stated by its owner"),
                   "huggingface_hub's cache"))
    return Path(_asked(name, lambda: huggingface_hub.snapshot_download(name, revision=info.sha,
                                                                       allow_patterns=sorted(wanted))))


def fetch_file(name: str, file: str, offline: bool = False) -> Path:
    """One file of a model, through the same cache; offline, from there alone."""
    import huggingface_hub

    return Path(_asked(name, lambda: huggingface_hub.hf_hub_download(name, file, etag_timeout=10,
                                                                     local_files_only=offline), offline))


def _asked(name: str, ask: Callable[[], Any], offline: bool = False) -> Any:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    # Its errors inherit from those of the HTTP library that this version of huggingface_hub uses, whichever it is.
    failures: tuple[type[Exception], ...] = (OSError, *(
        base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))
    if not (offline or constants.HF_HUB_OFFLINE):
        reachable(endpoint())  # at once; the library would try five times first
    try:
        return ask()
    except GatedRepoError as error:
        raise HandloomError(f"{name} is gated: accept its terms on the hub and log in (`hf auth login`)") from error
    except RepositoryNotFoundError as error:
        raise HandloomError(f"{endpoint()} has no model {name!r}, or it is private: log in then") from error
    except HFValidationError as error:
        raise HandloomError(f"{name!r} is not a name that the hub could have: {error}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        where = "huggingface_hub's cache: does not hold it" if offline else f"{endpoint()}: {_first_line(error)}"
        raise Unreachable(where) from error
    except EntryNotFoundError as error:
        raise Unreachable(f"{endpoint()}/{name}: {_first_line(error)}") from error
    except failures as error:
        raise Unreachable(f"{endpoint()}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
