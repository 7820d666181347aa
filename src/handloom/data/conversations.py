"""What a decoder is taught by rows: conversations in the forms that are about, prompts with what follows, plain texts.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
    {"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}          ShareGPT
    {"instruction": "…", "input": "…", "output": "…", "system": "…", "history": [["…", "…"]]}   Alpaca
    {"prompt": "…", "completion": "…"}        both texts, or both lists of messages
    {"text": "…"}                             all of which is learnt

Which of them a row is, its own columns tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from handloom.data import columns
from handloom.data.examples import Dataset, GenerationExample, Source, Turn
from handloom.data.labels import blank
from handloom.data.options import Options, Record, refuse
from handloom.errors import HandloomError
from handloom.text.counting import agreed, counted

ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip
TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog")
PROMPTS = ("prompt", "question", "query")
COMPLETIONS = ("completion", "response", "answer", "chosen", "output")
TEXTS = ("text", "content", "document", "body", "code", "文本", "内容", "正文")

Example = GenerationExample


def read_generations(
    records: Sequence[Record], source: Source, options: Options, before: Sequence[str] = ()
) -> Dataset[Example]:
    """before: notes of whoever read the rows. HandloomError, with its place, for a row of none of these forms, roles
    that are not known or come in an order that nobody speaks in, and empty texts."""
    forms: Counter[str] = Counter()
    examples, places = [], []
    for record in records:
        form, example = _example(record, options)
        forms[form] += 1
        examples.append(example)
        if not (example.turns or example.prompt.strip() or (example.target or "").strip()):
            places.append(record.where)
    if options.blanks == "error":
        refuse(places, "an empty text", "Fill or remove them.")
        if options.labelled:
            silent = [e.where for e in examples if not e.turns and e.prompt and not (e.target or "").strip()]
            refuse(silent, "nothing to write behind the prompt", "Fill or remove them.")
    notes = [*before, *(f"{count:,} {agreed(count, form)}" for form, count in forms.most_common())]
    if open_ones := [e.where for e in examples if e.turns and e.answer is None and options.labelled]:
        end = agreed(len(open_ones), "[ends|end] without a reply, and nothing is learnt of [its|their] last turn")
        notes.append(f"{counted(len(open_ones), 'conversation')} {end} (the first: {open_ones[0]})")  # fmt: skip
    return Dataset(tuple(examples), source, tuple(notes))


def _example(record: Record, options: Options) -> tuple[str, Example]:
    """The form of a row, as `agreed` takes it, and what it says."""
    values, where = record.values, record.where
    if options.text_column is not None or options.label_column is not None:
        return _named(record, options)
    for name in TURNS:
        if name in values:
            return "conversation[|s]", _conversation(values[name], name, values, {name, "system"}, where, options)
    if "instruction" in values:
        return "conversation[|s] (instruction, output)", _alpaca(values, where, options)
    names = list(values)
    prompt, completion = columns.guess(names, PROMPTS), columns.guess(names, COMPLETIONS)
    if prompt is not None and (completion is not None or not options.labelled):
        return _pair(values, prompt, completion, where, options)
    text = columns.guess(names, TEXTS)
    if text is None:
        raise HandloomError(
            f"{where}: what is to be learnt of this row? It has {columns.listed(names)}; there should be messages, "
            "conversations, instruction and output, prompt and completion, or text (or name columns with --text-column "
            "and --label-column)"
        )
    return _text(values, text, where, options)


def _named(record: Record, options: Options) -> tuple[str, Example]:
    values, where = record.values, record.where
    if options.text_column is None:
        raise HandloomError(f"{where}: --label-column names what is written; --text-column names what stands before it")
    text = columns.choose(list(values), options.text_column, "--text-column", where)
    if options.label_column is None:
        return _text(values, text, where, options)
    label = columns.choose(list(values), options.label_column, "--label-column", where)
    return _pair(values, text, label, where, options)


def _text(values: Mapping[str, Any], name: str, where: str, options: Options) -> tuple[str, Example]:
    """Learnt as a whole; where nothing is learnt, what is to be gone on with."""
    text, extra = _string(values[name], name, where), _rest(values, {name})
    if options.labelled:
        return "text[|s]", Example(target=text, extra=extra, where=where)
    return "prompt[|s]", Example(prompt=text, extra=extra, where=where)


def _pair(
    values: Mapping[str, Any], prompt: str, completion: str | None, where: str, options: Options
) -> tuple[str, Example]:
    before = values[prompt]
    after = values[completion] if completion is not None else None
    used = {prompt, completion or ""} if options.labelled else {prompt}
    if isinstance(before, list):
        more = after if isinstance(after, list) else [] if blank(after) else [{"role": "assistant", "content": after}]
        return "conversation[|s]", _conversation([*before, *more], prompt, values, used, where, options)
    target = _string(after, completion or "", where) if options.labelled else None
    return "prompt[|s] with what follows", Example(
        prompt=_string(before, prompt, where), target=target, extra=_rest(values, used), where=where
    )


def _alpaca(values: Mapping[str, Any], where: str, options: Options) -> Example:
    """The input stands behind the instruction, an empty line between them; the history is what was said before."""
    turns: list[dict[str, Any]] = []
    history = values.get("history")
    for pair in [] if blank(history) else _list(history, "history", where):
        asked, said = pair if isinstance(pair, (list, tuple)) and len(pair) == 2 else (None, None)
        if asked is None:
            raise HandloomError(f"{where}: history should hold pairs of texts, not {pair!r:.60}")
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    parts = [_string(values.get(name), name, where).strip() for name in ("instruction", "input")]
    turns.append({"role": "user", "content": "\n\n".join(part for part in parts if part)})
    name = "output" if "output" in values else "response"
    if options.labelled or not blank(values.get(name)):
        turns.append({"role": "assistant", "content": values.get(name)})
    used = {"instruction", "input", name, "system", "history"}
    return _conversation(turns, "instruction", values, used, where, options)


def _conversation(
    given: Any, column: str, values: Mapping[str, Any], used: set[str], where: str, options: Options
) -> Example:
    listed = _list(given, column, where)
    turns = [_turn(one, number, where) for number, one in enumerate(listed, 1)]
    if not blank(values.get("system")) and (not turns or turns[0].role != "system"):
        turns.insert(0, Turn("system", _string(values["system"], "system", where)))
    _check(turns, where, options.labelled)
    if not options.labelled and turns[-1].role == "assistant":
        turns.pop()
    return Example(tuple(turns), extra=_rest(values, used), where=where)


def _turn(given: Any, number: int, where: str) -> Turn:
    keys = ("role", "content") if isinstance(given, dict) and "role" in given else ("from", "value")
    if not isinstance(given, dict) or not all(key in given for key in keys):
        raise HandloomError(f'{where}: turn {number} should be {{"role": …, "content": …}} or {{"from": …, "value": …}}'
                            f", not {given!r:.80}")  # fmt: skip
    role, content = given[keys[0]], given[keys[1]]
    known = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        raise HandloomError(f"{where}: turn {number} is of the role {role!r:.40}; there are {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise HandloomError(f"{where}: turn {number} should say a text, not {content!r:.60}")
    if not content.strip():
        raise HandloomError(f"{where}: turn {number} ({role}) is empty")
    return Turn(known, content)


def _check(turns: Sequence[Turn], where: str, labelled: bool) -> None:
    """One side after the other, and something that the assistant says."""
    if not turns:
        raise HandloomError(f"{where}: a conversation without turns")
    for number, (turn, after) in enumerate(pairwise(turns), 1):
        if turn.role == after.role == "assistant":
            raise HandloomError(f"{where}: turns {number} and {number + 1} are both the assistant's; a turn of the "
                                "user's is missing, or they are one")  # fmt: skip
        if after.role == "system":
            raise HandloomError(f"{where}: turn {number + 1} is the system's, which speaks first or not at all")
    if labelled and all(turn.role != "assistant" for turn in turns):
        raise HandloomError(f"{where}: the assistant says nothing, so there is nothing to learn")


def _list(value: Any, column: str, where: str) -> list[Any]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        raise HandloomError(f"{where}: {column} should be a list, not {value!r:.60}")
    return list(value)


def _string(value: Any, column: str, where: str) -> str:
    if blank(value):
        return ""
    if not isinstance(value, str):
        raise HandloomError(f"{where}: {column} should be a text, not {value!r:.60}")
    return value


def _rest(values: Mapping[str, Any], used: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in used}


def looks_like_chat(text: str) -> bool:
    """Whether JSON lines, or a list in JSON, begin with a conversation."""
    first = text.lstrip().lstrip("[").lstrip().split("\n", 1)[0][:200]
    return first.startswith("{") and any(f'"{name}"' in first for name in ("messages", "conversations", "instruction"))


def is_turn(given: Any) -> bool:
    """Whether it is one of a conversation's messages."""
    return isinstance(given, Mapping) and ("role" in given or {"from", "value"} <= set(given))


def is_talk(given: Any) -> bool:
    """Whether it is a list of messages."""
    return isinstance(given, (list, tuple)) and bool(given) and is_turn(given[0])


def from_list(where: str, row: Any) -> Record | None:
    """A row of a list that is a text or a conversation by itself, as a record; None for any other."""
    if isinstance(row, str):
        return Record(where, {"text": row})
    if isinstance(row, (list, tuple)) and row and all(isinstance(one, Mapping) for one in row):
        return Record(where, {"messages": list(row)})
    return None
