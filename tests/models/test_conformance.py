"""The conformance matrix: every check of every family (benchmarks/conformance.py), and the page that shows it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import conformance, families  # noqa: E402

from handloom.models.registry import FAMILIES  # noqa: E402


@pytest.mark.parity
@pytest.mark.parametrize("check", conformance.CHECKS)
@pytest.mark.parametrize("model_type", families.TINY)
def test_a_family_conforms(model_type: str, check: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    if conformance.applies(model_type, check):
        conformance.CHECKS[check](families.cases(model_type))


def test_every_family_has_a_line() -> None:
    assert set(families.TINY) | families.OWN == set(FAMILIES), "every family needs a line in benchmarks/families.py"


@pytest.mark.parity
def test_the_page_has_a_mark_in_every_cell() -> None:
    wanted = conformance.table(conformance.rows(list(families.TINY), lambda model_type, check: "✓"))
    page = conformance.PAGE.read_text(encoding="utf-8")
    assert wanted in page, "run python -m benchmarks.conformance --write docs/families.md"
