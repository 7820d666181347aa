"""How wide a text is in a terminal, where a Chinese character is as wide as two Latin ones.

rich is imported with the first text to be measured: `import handloom` stays quick.
"""

from __future__ import annotations


def width(text: str) -> int:
    """The columns that a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def widest(texts: list[str]) -> int:
    """The columns that the widest of them takes; 0 for none."""
    return max(map(width, texts), default=0)


def filled(text: str, columns: int) -> str:
    """The text and as many blanks as it lacks."""
    return text + " " * (columns - width(text))


def shortened(text: str, most: int = 60) -> str:
    """A text of at most so many characters; what is cut off is said by …"""
    return text if len(text) <= most else f"{text[: most - 1]}…"
