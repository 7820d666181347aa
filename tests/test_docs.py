"""Docs are run: Python blocks are executed, shell blocks checked against the real options, docs/cli.md is compared."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from workplace import furnish

from handloom.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def command_lines(page: Path) -> list[list[str]]:
    """The words after `handloom` of every command line of a page."""
    found = []
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").split("\n"):
            for part in re.split(r"&&|\|", line):
                words = shlex.split(re.sub(r"\(.*\)$", "", part), comments=True)
                words = words[: words.index(">")] if ">" in words else words
                if words[:3] == ["python", "-m", "handloom"]:
                    found.append(words[3:])
                elif words[:1] == ["handloom"]:
                    found.append(words[1:])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_blocks_use_options_that_there_are(page: Path) -> None:
    for words in command_lines(page):
        command: Any = typer.main.get_command(app)
        rest = list(words)
        while hasattr(command, "commands") and rest:
            assert rest[0] in command.commands, f"{page.name}: {shlex.join(words)}"
            command = command.commands[rest.pop(0)]
        if not hasattr(command, "commands"):
            command.make_context("handloom", rest)  # parses, and raises where an option or argument is not right


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(furnish(tmp_path))
    names: dict[str, Any] = {"__name__": "block"}
    for block in blocks(page, "python"):
        line = page.read_text(encoding="utf-8").split(block)[0].count("\n")
        exec(compile("\n" * line + block, str(page), "exec", dont_inherit=True), names)


@pytest.mark.parametrize("page", [page for page in PAGES if page.with_suffix(".zh.md").exists()], ids=lambda p: p.name)
def test_the_chinese_page_has_as_many_examples(page: Path) -> None:
    for language in ("sh", "python"):
        assert len(blocks(page, language)) == len(blocks(page.with_suffix(".zh.md"), language)), language
    commands, chinese = ([words[0] for words in command_lines(one)] for one in (page, page.with_suffix(".zh.md")))
    assert commands == chinese


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_cli_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec is not None and spec.loader is not None
    make_cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_cli)
    assert make_cli.PAGE.read_text(encoding="utf-8") == make_cli.page(), "run python docs/make_cli.py"
