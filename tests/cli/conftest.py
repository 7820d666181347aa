from __future__ import annotations

from pathlib import Path

import pytest
from workplace import furnish


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it; tests add runs to it and change nothing that is there."""
    return furnish(tmp_path_factory.mktemp("work"))


@pytest.fixture
def work(furnished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as the current folder."""
    monkeypatch.chdir(furnished)
    monkeypatch.setenv("HANDLOOM_HOME", str(furnished / "home"))
    return furnished
