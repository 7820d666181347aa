"""The process in which a chat template runs: a task as JSON on standard input, the answer on standard output.

Started by chat.py with `python -I`, so it imports nothing of Handloom.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any


def bound(seconds: int, megabytes: int) -> None:
    try:
        import resource
    except ImportError:  # no such limits on this system: chat.py's own timeout is left
        return
    for what, limit in (("RLIMIT_CPU", seconds), ("RLIMIT_AS", megabytes << 20), ("RLIMIT_NPROC", 0)):
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, what), (limit, limit))


class Rendering:
    """What is written of one conversation, and which of its characters the template marks as the assistant's."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size = 0
        self.said: list[tuple[int, str]] = []  # where, and what

    def add(self, piece: str) -> None:
        self.pieces.append(piece)
        self.size += len(piece)


def environment(now: list[Rendering]) -> Any:
    """With the filters and functions that Hugging Face's templates count on. now: what is being written, its last."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} … {% endgeneration %} marks what the assistant says."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("said"), [], [], body).set_lineno(line)

        def said(self, caller: Any) -> Any:
            words, here = caller(), now[-1]
            here.said.append((here.size, str(words)))
            return words

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None,
               sort_keys: bool = False) -> str:  # fmt: skip
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


def finished(found: list[Rendering]) -> dict[str, Any]:
    rows = []
    for number, one in enumerate(found):
        text = "".join(one.pieces)
        if not all(text.startswith(words, start) for start, words in one.said):
            return {"error": "has {% generation %} where its place in the text is not known (a macro, say)",
                    "number": number}  # fmt: skip
        rows.append({"text": text, "spans": [(start, start + len(words)) for start, words in one.said]})
    return {"found": rows}


def answer(task: dict[str, Any]) -> dict[str, Any]:
    try:
        import jinja2
    except ImportError:
        return {"error": "is written in Jinja, which is not installed: python -m pip install 'handloom[chat]'"}
    found: list[Rendering] = []
    try:
        made = environment(found)  # imports come before the bounds
        bound(task["seconds"], task["megabytes"])
        template = made.from_string(task["template"])
        for values in task["conversations"]:
            found.append(Rendering())
            for piece in template.generate(**task["special"], **values):
                found[-1].add(piece)
                if found[-1].size > task["longest"]:
                    return {"error": f"writes more than {task['longest']:,} characters", "number": len(found) - 1}
        return finished(found)
    except MemoryError:
        return {"error": "memory"}
    except jinja2.exceptions.SecurityError as error:
        said = f"reaches outside of its sandbox: {error}"
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"is wrong in line {error.lineno}: {error.message}"}
    except jinja2.TemplateError as error:
        said = f"refuses this conversation: {error}"
    except Exception as error:  # a template can fail in any way that Python can
        said = f"fails: {type(error).__name__}: {error}"
    return {"error": said, "number": max(len(found) - 1, 0)}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin.buffer)), sys.stdout)
