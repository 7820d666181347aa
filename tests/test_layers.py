"""Who imports whom: every arrow of the house points downwards (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parent.parent / "src" / "handloom"

# Each room, with the rooms directly below it; it may import whatever lies further below, too.
BELOW = {
    "cli": ["pipelines", "train", "serve", "ngram"],
    "testing": ["train"],
    "sklearn": ["train"],
    "pipelines": ["train", "ngram"],
    "serve": ["train"],
    "train": ["generate"],
    "generate": ["tasks", "scoring"],
    "tasks": ["data", "text", "models"],
    "data": ["text"],
    "models": ["nn", "gguf_file"],
    "nn": ["tensor"],
    "tensor": ["ceilings", "costs"],
    "costs": ["compiler"],
    "ceilings": ["compiler"],
    "compiler": ["passes", "codegen", "runtime", "split"],
    "split": [],
    "passes": ["graph"],
    "codegen": ["graph"],
    "runtime": [],
    "graph": [],
    "text": ["gguf_file", "isolated"],
    "gguf_file": [],
    "isolated": [],
    "ngram": ["scoring"],
    "scoring": [],
}
FREE = {"errors", "__init__", "__main__"}


def allowed(room: str) -> set[str]:
    return {room, "errors"}.union(*(allowed(below) for below in BELOW[room]))


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """The line and the room of each import of Handloom's own modules, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{file}:{node.lineno}: relative import"
            continue
        rooms = (name.split(".")[1] for name in names if name.startswith("handloom."))
        yield from ((node.lineno, room) for room in rooms if room != "__version__")


def test_imports_point_downwards() -> None:
    wrong = []
    for file in sorted(HOUSE.rglob("*.py")):
        room = file.relative_to(HOUSE).parts[0].removesuffix(".py")
        if room not in FREE:
            wrong += [f"{file}:{line}: {room} imports {to}" for line, to in imports(file) if to not in allowed(room)]
    assert not wrong, "\n".join(wrong)


def test_every_room_is_known() -> None:
    rooms = {path.name.removesuffix(".py") for path in HOUSE.iterdir() if path.suffix in ("", ".py")} - {"__pycache__"}
    assert rooms - FREE <= BELOW.keys()


def test_every_room_says_what_it_is() -> None:
    for room in sorted(HOUSE.glob("*/__init__.py")):
        said = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8")))
        assert said and not said.startswith(("To be written", "TODO")), room
