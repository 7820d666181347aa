"""Chat templates: a conversation as the text that the model was trained to go on with.

A template comes with a model, from anybody; it is a small program in Jinja. It runs in Jinja's immutable sandbox, which
keeps it from reaching outside, within a process of its own, whose time and memory the system bounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handloom.errors import HandloomError

Message = Mapping[str, Any]

SECONDS, MEGABYTES = 5, 512
LONGEST = 1 << 20
"""Characters of a template, and of what it may write at most."""
PROGRAM = Path(__file__).with_name("chat_process.py")


def render(
    template: str, messages: Sequence[Message], special: Mapping[str, str] | None = None, *, reply: bool = True,
    **more: Any,
) -> str:  # fmt: skip
    """The conversation as text. messages: {"role": "user", "content": "…"} in order. special: the tokenizer's special
    tokens by the names that templates use, such as bos_token. reply: with the beginning of the assistant's turn.

    `more` is handed to the template. Raises HandloomError where Jinja is not installed, for what the template itself
    refuses, and for one that is wrong, reaches outside of its sandbox, or takes more than its time or memory.
    """
    if len(template) > LONGEST:
        raise HandloomError(f"the chat template has {len(template):,} characters; at most {LONGEST:,} are read")
    if not messages:
        raise HandloomError("a conversation needs at least one message")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str) or "content" not in message:
            raise HandloomError(f'message {number} must have a "role" and a "content", and is {message!r:.80}')
    values = {**(special or {}), "messages": list(map(dict, messages)), "add_generation_prompt": reply, **more}
    task = {"template": template, "values": values, "seconds": SECONDS, "megabytes": MEGABYTES, "longest": LONGEST}
    try:
        done = subprocess.run(  # isolated: neither the environment nor the working folder changes what it imports
            [sys.executable, "-I", str(PROGRAM)],
            input=json.dumps(task).encode(),
            capture_output=True,
            timeout=2 * SECONDS + 5,
        )
    except subprocess.TimeoutExpired as error:
        raise HandloomError(_too_much("time")) from error
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:  # the system has ended it
        raise HandloomError(_too_much("time or memory")) from error
    if "text" in answer:
        return str(answer["text"])
    raise HandloomError(_too_much("memory") if answer["error"] == "memory" else f"the chat template {answer['error']}")


def _too_much(what: str) -> str:
    return f"the chat template takes more {what} than the {SECONDS} s and {MEGABYTES} MB that it may have"
