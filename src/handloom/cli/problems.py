"""From an exception to what the user reads and the exit code: 2 for usage, 1 for the rest, 130 after Ctrl-C."""

from __future__ import annotations

import errno
import sys
import warnings
from types import TracebackType

import typer

from handloom.cli.nearest import did_you_mean
from handloom.errors import HandloomError

# typer brings its own copy of click or uses the installed one, by version; its public BadParameter leads to both.
ClickUsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]
ClickError: type[typer.BadParameter] = ClickUsageError.__mro__[1]

INTERRUPTED = 130
USAGE = 2
FAILED = 1


def complain(message: str) -> None:
    print(f"handloom: {message}", file=sys.stderr)


def usage_message(error: typer.BadParameter) -> str:
    """A click error in our words: what was wrong, the nearest right thing, where to read on."""
    context = error.ctx
    message = error.format_message().rstrip(".")
    option = getattr(error, "option_name", None)
    if context is None:
        return message
    command = context.command
    if type(error).__name__ == "NoSuchOption" and option:
        known = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
        message = f"there is no option {option}{did_you_mean(str(option), known)}"
    elif hasattr(command, "list_commands") and message.startswith("No such command"):
        name = message.split("'")[1]
        message = f"there is no command {name}{did_you_mean(name, command.list_commands(context))}"
    return f"{message}\nTo read how it is used: {context.command_path} --help"


def os_message(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return f"there is no room left on the disk{where}; what was saved before is untouched"
    return f"{error.strerror or error}{where}"


def plain_warnings() -> None:
    """Warnings in one line, without the line of code that gave them."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        complain(f"warning: {message}")

    warnings.showwarning = show


def hide_tracebacks() -> None:
    """Report a defect of Handloom in two lines rather than by a traceback; Python still exits with 1."""

    def report(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        complain(
            f"{kind.__name__}: {error}\n"
            "This is a defect of Handloom, not of your input. The same command with --debug shows where it happened."
        )

    sys.excepthook = report


def explain(error: BaseException) -> int:
    """Print what happened and return the exit code."""
    if isinstance(error, HandloomError):
        complain(str(error))
        return error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), end="", file=sys.stderr)  # type: ignore[attr-defined]
        return USAGE
    if isinstance(error, ClickUsageError):
        complain(usage_message(error))
        return USAGE
    if isinstance(error, ClickError):
        complain(error.format_message())
        return FAILED
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        complain("stopped")
        return INTERRUPTED
    if isinstance(error, OSError):
        complain(os_message(error))
        return FAILED
    if isinstance(error, MemoryError):
        complain("out of memory; a smaller --batch-tokens or a shorter --max-length needs less")
        return FAILED
    raise error
