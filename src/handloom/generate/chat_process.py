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


def environment() -> Any:
    """With the filters and functions that Hugging Face's templates count on."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} … {% endgeneration %} marks what the assistant says; here it stands for its content."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

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


def answer(task: dict[str, Any]) -> dict[str, str]:
    try:
        import jinja2
    except ImportError:
        return {"error": "is written in Jinja, which is not installed: python -m pip install 'handloom[chat]'"}
    try:
        made = environment()  # imports come before the bounds
        bound(task["seconds"], task["megabytes"])
        text, size = [], 0
        for piece in made.from_string(task["template"]).generate(**task["values"]):
            text.append(piece)
            size += len(piece)
            if size > task["longest"]:
                return {"error": f"writes more than {task['longest']:,} characters"}
        return {"text": "".join(text)}
    except MemoryError:
        return {"error": "memory"}
    except jinja2.exceptions.SecurityError as error:
        return {"error": f"reaches outside of its sandbox: {error}"}
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"is wrong in line {error.lineno}: {error.message}"}
    except jinja2.TemplateError as error:
        return {"error": f"refuses this conversation: {error}"}
    except Exception as error:  # a template can fail in any way that Python can
        return {"error": f"fails: {type(error).__name__}: {error}"}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin.buffer)), sys.stdout)
