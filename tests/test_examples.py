"""The examples run, and learn what they say; every task has one, in five steps of a dozen lines."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from workplace import loaded

from handloom.train.estimators import ESTIMATORS
from handloom.train.text_classifier import TextClassifier

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples"
FIVE = re.compile(r"^(\s+)# (1\.? |(the )?five steps)")
"""What the five steps begin with; they end at an empty line, or where their block ends."""


@pytest.mark.parametrize("example", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_example(example: Path) -> None:
    found = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip()


@pytest.mark.parametrize("notebook", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook(notebook: Path) -> None:
    """Its cells run one after the other, and learn what they say; they are kept without what they showed."""
    found = json.loads(notebook.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in found["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in found["cells"])
    shown: list[Any] = []
    names: dict[str, Any] = {"shown": shown}
    for cell in cells:
        lines = ast.parse(cell)
        if isinstance(last := lines.body[-1], ast.Expr):  # what a cell ends with is what it shows
            wrapped = ast.Call(ast.Attribute(ast.Name("shown", ast.Load()), "append", ast.Load()), [last.value], [])
            lines.body[-1] = ast.Expr(wrapped)
        exec(compile(ast.fix_missing_locations(lines), str(notebook), "exec"), names)
    shown = [one for one in shown if one is not None]
    pages = [one._repr_html_() for one in shown if isinstance(one, TextClassifier)]
    assert len(pages) == 1 and pages[0] and "polyline" in pages[0]  # the curves
    fitted, learnt = names["classifier"], list(names["WANTED"])
    labels = fitted.task.labels
    assert fitted.scores["accuracy"] > 0.95 and set(learnt) < set(labels)
    assert shown[2][0] == learnt[0] and shown[-2] == labels[-1] and shown[-1] == learnt[1]


def five_steps(source: str) -> list[str]:
    """The lines of code of the five steps, without comments."""
    lines = source.split("\n")
    begin = next((i for i, line in enumerate(lines) if FIVE.match(line)), None)
    assert begin is not None, "a comment has to say where the five steps begin: # 1. data …"
    indent = len(lines[begin]) - len(lines[begin].lstrip())
    found = []
    for line in lines[begin:]:
        if not line.strip() or len(line) - len(line.lstrip()) < indent:
            break
        if not line.strip().startswith(("#", "assert ")):
            found.append(line)
    return found


@pytest.mark.parametrize("task", ESTIMATORS)
def test_every_task_comes_in_five_steps_of_a_dozen_lines_and_in_one_command(task: str) -> None:
    table = loaded("../docs/make_tasks.py").ROWS
    assert task in table, f"docs/make_tasks.py needs a row for {task}"
    steps = five_steps((FOLDER / table[task].example).read_text(encoding="utf-8"))
    assert 3 <= len(steps) <= 12, f"{table[task].example}: the five steps take {len(steps)} lines"
    text = "\n".join(steps)
    assert ".fit(" in text and ("predict" in text or "search" in text)
    for page in ("guide.md", "guide.zh.md", "tasks.md"):
        assert f"handloom train {task}" in (ROOT / "docs" / page).read_text(encoding="utf-8"), page


def test_the_index_of_tasks_is_up_to_date() -> None:
    made = loaded("../docs/make_tasks.py")
    for name in made.TEXTS:
        assert (made.FOLDER / name).read_text(encoding="utf-8") == made.page(name), "run python docs/make_tasks.py"
