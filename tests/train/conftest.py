from __future__ import annotations

from pathlib import Path

import pytest
import tiny_bert


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random BERT."""
    return tiny_bert.write(tmp_path_factory.mktemp("tiny"))
