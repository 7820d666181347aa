"""What a user wants of a text besides what the model would write, put together from the options of Writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handloom.errors import HandloomError, UsageError
from handloom.generate import grammar
from handloom.generate.constraints import Both, Constraint
from handloom.generate.grammar import Vocabulary
from handloom.generate.phrases import Forbidden, Phrases, Required

GRAMMARS = ("schema", "pattern", "choices")
NAMES = (*GRAMMARS, "required", "forbidden")


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(those options that say what is wanted, the others)"""
    wanted = {name: value for name, value in options.items() if name in NAMES and value is not None}
    return wanted, {name: value for name, value in options.items() if name not in NAMES}


def constraint(
    vocabulary: Vocabulary, *, schema: Any = None, pattern: str | None = None, choices: Sequence[str] | None = None,
    required: Sequence[str] = (), forbidden: Sequence[str] = (),
) -> Constraint | None:  # fmt: skip
    """All of it as one constraint; None if nothing is wanted.

    Words that a pattern or choices must or must not have become part of the grammar; a schema says itself what must
    come (`pattern`, `const`, `enum`), and what must not is left out of its strings. Raises UsageError for more than one
    grammar.
    """
    given = [name for name, value in zip(GRAMMARS, (schema, pattern, choices), strict=True) if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} were given: one of {', '.join(GRAMMARS)} says what a text looks like")
    if schema is not None and required:
        raise UsageError("words cannot be required beside a schema: say in it what must come (pattern, const, enum)")
    must, never = Phrases(required), Phrases(forbidden, forbidden=True)
    if both := {phrase.casefold() for phrase in must.phrases} & {phrase.casefold() for phrase in never.phrases}:
        raise UsageError(f"required and forbidden at once: {', '.join(sorted(both))}")
    if pattern is not None:
        also = [*must.expressions(), *(f"~{expression}" for expression in never.expressions())]
        named = {"required": must.phrases, "forbidden": never.phrases}
        words = " and ".join(f"{', '.join(map(repr, phrases))} {how}" for how, phrases in named.items() if phrases)
        return grammar.of_pattern(vocabulary, pattern, also, words, must.phrases)
    if choices is not None:
        return grammar.of_choices(vocabulary, _left(choices, must, never))
    parts: list[Constraint] = [grammar.of_schema(vocabulary, schema)] if schema is not None else []
    parts += [Required(vocabulary, required)] if required else []
    parts += [Forbidden(vocabulary, forbidden)] if forbidden else []
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        whole = Both(whole, part)
    return whole


def _left(choices: Sequence[str], must: Phrases, never: Phrases) -> Sequence[str]:
    if isinstance(choices, str) or not (must.phrases or never.phrases):
        return choices
    left = [choice for choice in choices if len(must.found(choice)) == len(must.phrases) and not never.found(choice)]
    if not left:
        raise HandloomError("none of the choices has all required words and no forbidden one")
    return left
