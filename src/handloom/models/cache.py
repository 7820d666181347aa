"""Where what was fetched is kept, and how a folder appears there whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from handloom.errors import HandloomError


def home(environment: Mapping[str, str] | None = None) -> Path:
    """The user's cache: HANDLOOM_HOME, else the place that the platform has for caches."""
    environment = os.environ if environment is None else environment
    if named := environment.get("HANDLOOM_HOME"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "handloom"
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "handloom"


@contextmanager
def published(target: Path, sound: Callable[[], bool]) -> Iterator[Path]:
    """A new folder to fill; it takes the name `target` when the block ends, and vanishes if the block fails.

    A folder that bears the name already stays if it is `sound` (another process was faster); otherwise it makes room
    at the last moment.
    """
    staging = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        yield staging
        os.chmod(staging, 0o755)
        if sound():
            return
        if target.exists():
            os.rename(target, staging / ".old")
            shutil.rmtree(staging / ".old")
        try:
            os.rename(staging, target)
        except OSError:
            if not sound():
                raise
    except OSError as error:
        raise HandloomError(f"{target}: could not be written: {error.strerror or error}") from error
    finally:
        if staging is not None and staging.exists():
            shutil.rmtree(staging, ignore_errors=True)
