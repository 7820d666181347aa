"""Writes docs/cli.md from the commands themselves: python docs/make_cli.py

A test compares the page with what this would write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from handloom.cli.main import app

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# Every command and option

Made from the commands themselves by `python docs/make_cli.py`; `handloom COMMAND --help` shows the same in a terminal.
Exit codes: 0 for success, 2 for a command line that makes no sense, 3 where `compare` finds
the new model worse, 130 after Ctrl-C, 1 for everything else. `--debug`
may stand anywhere and shows a traceback on errors.
"""


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    if hasattr(command, "commands"):
        for part, inner in command.commands.items():
            yield from commands(inner, f"{name} {part}")
    else:
        yield name, command


def prose(text: str) -> str:
    """A docstring's paragraphs, the examples among them as code."""
    parts = []
    for paragraph in text.replace("\b", "").split("\n\n"):
        lines = [line for line in paragraph.strip().split("\n") if line.strip()]
        if lines and lines[0].startswith("handloom "):
            parts.append("\n".join(["```sh", *lines, "```"]))
        elif lines:
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def row(parameter: Any) -> str:
    """One line of the table of options."""
    option = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in sorted(parameter.opts, reverse=True)) if option else ""
    metavar = parameter.metavar  # None for a flag
    if not option:
        names = f"`{metavar}`"
    elif metavar:
        names += " " + " or ".join(f"`{choice}`" for choice in metavar.split("|"))
    help_text = (parameter.help or "").replace("|", r"\|")
    default = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    if isinstance(default, (str, int, float, Path)) and not isinstance(default, bool):
        help_text += f" Default: `{default}`."
    return f"| {names} | {help_text} |"


def page() -> str:
    parts = [HEAD]
    for name, command in commands(typer.main.get_command(app), "handloom"):
        shown = [parameter for parameter in command.params if parameter.name != "help"]
        rows = "\n".join(["| | |", "|---|---|", *map(row, shown)])
        parts.append(f"## {name}\n\n{prose(command.help or '')}\n\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
