"""How wide a text is in a terminal, where a Chinese character is as wide as two Latin ones."""

from __future__ import annotations

from rich.cells import cell_len


def widest(texts: list[str]) -> int:
    """The columns that the widest of them takes; 0 for none."""
    return max(map(cell_len, texts), default=0)


def filled(text: str, width: int) -> str:
    """The text and as many blanks as it lacks."""
    return text + " " * (width - cell_len(text))
