"""How wide a text is in a terminal, where a Chinese character is as wide as two Latin ones.

rich is imported with the first text to be measured: `import handloom` stays quick.
"""

from __future__ import annotations

import unicodedata

LABEL = 40
"""Columns that a label has in a table."""
CONTROLS = ("Cc", "Cs", "Zl", "Zp")
"""Categories of characters that move the cursor, or cannot be written."""


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


def shown(text: str, columns: int = LABEL) -> str:
    """A label, or the beginning of a text, for one row of a table: what would break the row is written as an escape.

    >>> shown("a\\nb"), shown("银行卡", 5)
    ('a\\\\nb', '银行…')
    """
    from rich.cells import set_cell_size

    plain = "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in CONTROLS else c for c in text)
    return plain if width(plain) <= columns else set_cell_size(plain, columns - 1).rstrip() + "…"
