"""Chat templates: a conversation as the text that the model was trained to go on with, and where in it it speaks.

A template comes with a model, from anybody; it is a small program in Jinja. It runs in Jinja's immutable sandbox, which
keeps it from reaching outside, within a process of its own, whose time and memory the system bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handloom.errors import HandloomError
from handloom.isolated import Ended, run

Message = Mapping[str, Any]
Messages = Sequence[Message]

SECONDS, MEGABYTES = 5, 512
LONGEST = 1 << 20
"""Characters of a template, and of what it may write at most."""
AT_ONCE = 1 << 18
"""Characters of messages that one process is given, about."""
PROGRAM = Path(__file__).with_name("chat_process.py")

PLAIN = (
    "{% for message in messages %}{{ message['role'] + ':\\n' + (message['content'] | trim) + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"
)
"""For models without a template: `user:`, a line end, what is said, the token that ends a text, a line end. It needs no
token that the model does not know."""
_GENERATION = re.compile(r"\{%[-+]?\s*generation\b")


@dataclass(frozen=True)
class Marked:
    """A conversation as text, and the (start, end) in its characters of what the assistant says, turn by turn."""

    text: str
    replies: tuple[tuple[int, int], ...]


def render(
    template: str, messages: Messages, special: Mapping[str, str] | None = None, *, reply: bool = True, **more: Any
) -> str:
    """The conversation as text. messages: {"role": "user", "content": "…"} in order. special: the tokenizer's special
    tokens by the names that templates use, such as bos_token. reply: with the beginning of the assistant's turn.

    `more` is handed to the template. Raises HandloomError where Jinja is not installed, for what the template itself
    refuses, and for one that is wrong, reaches outside of its sandbox, or takes more than its time or memory.
    """
    return render_all(template, [(messages, reply)], special, **more)[0]


def render_all(
    template: str, conversations: Sequence[tuple[Messages, bool]], special: Mapping[str, str] | None = None,
    places: Sequence[str] = (), **more: Any,
) -> list[str]:  # fmt: skip
    """`render` of many: (messages, reply) each. places: where each stands, for errors."""
    return [text for text, _ in _rendered(template, conversations, special, places, more)]


def marked(
    template: str, conversations: Sequence[Messages], special: Mapping[str, str] | None = None,
    places: Sequence[str] = (),
) -> list[Marked]:  # fmt: skip
    """Conversations as texts, with what the assistant says in them.

    A template says it itself, by {% generation %}, or it is what comes after the text up to the assistant's turn, with
    the beginning of its reply, up to the text with that turn. Raises HandloomError as `render` does, and where a
    conversation is written otherwise once it goes on, so that its parts cannot be told apart.
    """
    result: list[Marked] = []
    if _GENERATION.search(template):
        found = _rendered(template, [(messages, False) for messages in conversations], special, places, {})
        for number, ((text, spans), messages) in enumerate(zip(found, conversations, strict=True)):
            said = sum(message.get("role") == "assistant" for message in messages)
            if len(spans) != said:
                raise HandloomError(f"{_place(places, number)}the assistant speaks {said} times, and the chat template "
                                    f"marks {len(spans)} of them with {{% generation %}}")  # fmt: skip
            result.append(Marked(text, tuple(spans)))
        return result
    asked: list[tuple[Messages, bool]] = []
    owners: list[str] = []
    for number, messages in enumerate(conversations):
        mine: list[tuple[Messages, bool]] = [(messages, False)]
        for turn, message in enumerate(messages):
            if message.get("role") == "assistant":
                if turn == 0:
                    raise HandloomError(f"{_place(places, number)}the conversation begins with the assistant, and the "
                                        "chat template does not mark what it says")  # fmt: skip
                mine += [(messages[:turn], True), (messages[: turn + 1], False)]
        asked += mine
        owners += [_place(places, number).removesuffix(": ")] * len(mine)
    texts = iter(render_all(template, asked, special, owners))
    for number, messages in enumerate(conversations):
        whole, replies = next(texts), list[tuple[int, int]]()
        for _ in range(sum(message.get("role") == "assistant" for message in messages)):
            before, through = next(texts), next(texts)
            for part in (before, through):
                if not whole.startswith(part):
                    raise _changed(_place(places, number), whole, part)
            replies.append((len(before), len(through)))
        result.append(Marked(whole, tuple(replies)))
    return result


def _changed(place: str, whole: str, part: str) -> HandloomError:
    at = next((i for i, (a, b) in enumerate(zip(whole, part, strict=False)) if a != b), min(len(whole), len(part)))
    return HandloomError(
        f"{place}the chat template writes a conversation otherwise once it goes on ({part[at : at + 30]!r} becomes "
        f"{whole[at : at + 30]!r}), so that the assistant's words cannot be told apart; a template that marks them "
        "with {% generation %} is needed, in the model's chat_template.jinja"
    )


def _place(places: Sequence[str], number: int) -> str:
    return f"{places[number]}: " if number < len(places) and places[number] else ""


Spans = list[tuple[int, int]]


def _rendered(
    template: str, conversations: Sequence[tuple[Messages, bool]], special: Mapping[str, str] | None,
    places: Sequence[str], more: Mapping[str, Any],
) -> Iterator[tuple[str, Spans]]:  # fmt: skip
    if len(template) > LONGEST:
        raise HandloomError(f"the chat template has {len(template):,} characters; at most {LONGEST:,} are read")
    waiting: list[dict[str, Any]] = []
    size = first = 0
    for number, (messages, reply) in enumerate(conversations):
        place = _place(places, number)
        if not messages:
            raise HandloomError(f"{place}a conversation needs at least one message")
        for turn, message in enumerate(messages, 1):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str) or "content" not in message:
                raise HandloomError(f'{place}message {turn} must have a "role" and a "content", and is {message!r:.80}')
        waiting.append({"messages": list(map(dict, messages)), "add_generation_prompt": reply, **more})
        size += sum(len(str(message["content"])) for message in messages) + 1000
        if size > AT_ONCE or number == len(conversations) - 1:
            yield from _run(template, waiting, special or {}, places[first:])
            waiting, size, first = [], 0, number + 1


def _run(
    template: str, conversations: list[dict[str, Any]], special: Mapping[str, str], places: Sequence[str]
) -> Iterator[tuple[str, Spans]]:
    task = {
        "template": template, "conversations": conversations, "special": dict(special),
        "seconds": SECONDS, "megabytes": MEGABYTES, "longest": LONGEST,
    }  # fmt: skip
    try:
        answer = run(PROGRAM, task, 60 * SECONDS)
    except Ended as error:
        raise HandloomError(_too_much("time or memory")) from error
    if "error" in answer:
        place = _place(places, answer.get("number", len(places)))
        said = _too_much("memory") if answer["error"] == "memory" else f"the chat template {answer['error']}"
        raise HandloomError(place + said)
    for found in answer["found"]:
        yield str(found["text"]), [(int(start), int(end)) for start, end in found["spans"]]


def _too_much(what: str) -> str:
    return f"the chat template takes more {what} than the {SECONDS} s and {MEGABYTES} MB that it may have"
