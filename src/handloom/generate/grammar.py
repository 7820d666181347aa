"""Texts by a JSON Schema, a regular expression or a list of choices, through llguidance (Earley parsing over
derivatives of regular expressions; extra `constrained`).

A grammar is compiled in a process of its own first, whose time and memory the system bounds, together with the search
for its shortest text: what would explode, or cannot end, is refused there. What is left then are llguidance's own
bounds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from handloom.errors import HandloomError, UsageError
from handloom.generate import completion, json_schema
from handloom.generate.constraints import Flags
from handloom.generate.least import least
from handloom.isolated import Ended, run
from handloom.text.token_bytes import token_bytes
from handloom.text.tokenizer import Tokenizer

SECONDS, MEGABYTES = 10, 1024
LONGEST = 1 << 16
"""Characters of a regular expression."""
MOST_CHOICES = 10_000
LIMITS = {"max_lexer_states": 50_000, "step_lexer_fuel": 200_000, "verbose_errors": False}
"""llguidance's bounds: 50,000 states are at most 100 MB; the fuel of a mask is its own bound (14,000 a ms, it says)."""
SPACE = r"\x20|\n\x20{0,16}"
"""What may stand between the parts of JSON: nothing, one space, or a new line and what indents it."""
NOTHING = "there is no such text"
PLACE = re.compile(r"\bat \d+\(\d+\): ")
"""In the grammar that llguidance was given, which nobody else has seen."""
PROGRAM = Path(completion.__file__)
MISSING = (
    "schemas, patterns and choices need llguidance, which is not installed: python -m pip install "
    "'handloom[constrained]'"
)


class Vocabulary:
    """The tokens of a model as llguidance wants them: bytes each, and those that end a text."""

    def __init__(self, tokenizer: Tokenizer, size: int, ends: Iterable[int] = ()) -> None:
        """size: the columns of the model's logits, which may be more than the tokenizer has tokens."""
        self.ends = sorted(end for end in ends if end < size)
        found = token_bytes(tokenizer, self.ends)[:size]
        self.spelt: list[bytes | None] = [*found, *[None] * (size - len(found))]
        self.size = size
        self._tokenizer = tokenizer
        self._ids = {text: index for index, text in reversed(list(enumerate(self.spelt))) if text}
        self._longest = max(map(len, self._ids), default=0)

    @cached_property
    def singles(self) -> dict[bytes, int]:
        return completion.singles(self.spelt)

    @cached_property
    def library(self) -> Any:
        """As llguidance's LLTokenizer. Raises HandloomError where it is not installed."""
        llguidance = _library()
        spelt = self.spelt

        class Wrapped:
            eos_token_id, bos_token_id = self.size, None
            tokens = [*(text or f"<{index}>".encode() for index, text in enumerate(spelt)), b"<end>"]  # noqa: RUF012
            special_token_ids = [*(index for index, text in enumerate(spelt) if text is None), self.size]  # noqa: RUF012

            __call__ = staticmethod(self.cut)

        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Wrapped()), eos_token=[self.size])

    def cut(self, text: bytes) -> list[int]:
        """A text in tokens: as the tokenizer cuts it where those spell these very bytes, else the longest tokens
        first."""
        ids: list[int] = self._tokenizer.ids(text.decode("utf-8", "replace"), frame=False).tolist()
        if all(index < self.size for index in ids) and self.bytes_of(ids) == text:
            return ids
        found, at = [], 0
        while at < len(text):
            ends = range(min(len(text), at + self._longest), at, -1)
            end = next((end for end in ends if text[at:end] in self._ids), None)
            if end is None:  # it cannot be spelt: what is forced cannot come
                return []
            found.append(self._ids[text[at:end]])
            at = end
        return found

    def bytes_of(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self.spelt[token] or b"" for token in tokens)


class Grammar:
    """A Constraint."""

    def __init__(
        self, vocabulary: Vocabulary, source: str, what: str, hints: str = "", is_json: bool = False,
        trims: bool = True, examples: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """source: llguidance's Lark; trims: it lets a space come before the text; examples: texts that it may allow.
        Raises HandloomError for a grammar that is wrong, too large or has no end."""
        llguidance = _library()
        self.vocabulary, self.is_json, self.what, self.trims = vocabulary, is_json, what, trims
        self.examples = examples
        grammar = llguidance.LLMatcher.grammar_from_lark(source)
        shortest = _try(grammar, what, hints.encode(), is_json, examples)
        limits = llguidance.LLParserLimits(**LIMITS)
        self.matcher = llguidance.LLMatcher(vocabulary.library, grammar, log_level=0, limits=limits)
        self.atoms = completion.Atoms(vocabulary.spelt, hints.encode(), vocabulary.singles)
        if self.matcher.is_error():
            raise HandloomError(f"{what} is refused: {_first(self.matcher.get_error())}")
        if not self.atoms.complete and not self._writes(shortest) and self.start().completion() is None:
            raise HandloomError(f"the model's vocabulary cannot spell a text of {what}")

    def _writes(self, text: str) -> bool:
        tokens, matcher = self.atoms.spell(text), self.matcher.deep_copy()
        return tokens is not None and (not tokens or matcher.consume_tokens(tokens)) and bool(matcher.is_accepting())

    def start(self) -> GrammarFollower:
        return GrammarFollower(self, self.matcher.deep_copy(), [])

    def text(self, tokens: Sequence[int]) -> str:
        return self.vocabulary.bytes_of(tokens).decode("utf-8", "replace")

    def value(self, text: str) -> Any:
        return json.loads(text) if self.is_json else None


class GrammarFollower:
    progress, closes = 0, True

    def __init__(self, grammar: Grammar, matcher: Any, tokens: list[int]) -> None:
        self.grammar, self.matcher, self.tokens = grammar, matcher, tokens

    @property
    def over(self) -> bool:
        return bool(self.matcher.is_stopped())

    def allowed(self, left: int) -> Flags:
        size = self.grammar.vocabulary.size
        words = np.zeros((size + 32) // 32, np.uint32)
        self.matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        self._check()
        flags = np.unpackbits(words.view(np.uint8), count=size, bitorder="little").view(np.bool_)
        flags[self.grammar.vocabulary.ends] = self.matcher.is_accepting()
        return flags

    def wanted(self) -> Sequence[int]:
        return ()

    def advance(self, token: int) -> None:
        if token not in self.grammar.vocabulary.ends:
            self.matcher.consume_token(token)
            self._check()
            self.tokens.append(token)

    def copy(self) -> GrammarFollower:
        return GrammarFollower(self.grammar, self.matcher.deep_copy(), list(self.tokens))

    def completion(self) -> list[int] | None:
        own, so_far = self.grammar, self.grammar.vocabulary.bytes_of(self.tokens)
        return completion.shortest(self.matcher, own.atoms, so_far, own.is_json, own.examples)

    def _check(self) -> None:
        if self.matcher.is_error():
            text = self.grammar.text(self.tokens)
            text = (text.removeprefix(" ") if self.grammar.trims else text)[-40:]
            raise HandloomError(f"{self.grammar.what} became too large at {text!r}: {_first(self.matcher.get_error())}")


def of_schema(vocabulary: Vocabulary, schema: Any) -> Grammar:
    """Texts of JSON that a schema holds of (see json_schema.read). Raises HandloomError, too, for what llguidance does
    not support, by name."""
    checked = json_schema.read(schema)
    options = {"whitespace_pattern": SPACE, "lenient": False, "coerce_one_of": False}
    written = json.dumps({**checked, "x-guidance": options})
    return Grammar(vocabulary, f'start: " "? json\njson: %json {written}', "the schema",
                   json_schema.strings(checked), is_json=True)  # fmt: skip


def of_pattern(
    vocabulary: Vocabulary, pattern: str, also: Sequence[str] = (), words: str = "", required: Sequence[str] = ()
) -> Grammar:
    """Texts of which a regular expression matches the whole, written as for Rust's crate `regex`: without references to
    groups, looking around and word boundaries. also: what the text must match besides, in llguidance's Lark; words:
    what that says, in words; required: the phrases that it wants."""
    if not isinstance(pattern, str) or not pattern:
        raise UsageError("a pattern must be a regular expression of one character or more")
    if len(pattern) > LONGEST:
        raise HandloomError(f"the pattern has {len(pattern):,} characters; it may have {LONGEST:,}")
    written = _library().regex_to_lark(pattern, "d")
    spaced = "" if _begins_with_space(pattern) else '" "? '
    both = " & ".join([f"/{written}/", *also])
    what = f"the pattern with {words}" if words else "the pattern"
    short, wanted = least(pattern, completion.LONGEST) or "", " ".join(required)
    examples = [f"{short} {wanted}", short + wanted, f"{wanted} {short}"] if required else [short]
    return Grammar(vocabulary, f"start: {spaced}TEXT\nTEXT: {both}", what, pattern,
                   trims=bool(spaced), examples=examples)  # fmt: skip


def of_choices(vocabulary: Vocabulary, choices: Sequence[str]) -> Grammar:
    """One of some texts."""
    if isinstance(choices, str) or not choices or not all(isinstance(choice, str) and choice for choice in choices):
        raise UsageError("choices must be a list of one text or more, none of them empty")
    total = sum(map(len, choices))
    if len(choices) > MOST_CHOICES or total > json_schema.LARGEST:
        raise HandloomError(f"there are {len(choices):,} choices of {total:,} characters; there may be "
                            f"{MOST_CHOICES:,} of {json_schema.LARGEST:,}")  # fmt: skip
    texts = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in dict.fromkeys(choices))
    spaced = "" if any(choice.startswith(" ") for choice in choices) else '" "? '
    return Grammar(vocabulary, f"start: {spaced}TEXT\nTEXT: {texts}", "the list of choices", "".join(choices)[:LONGEST],
                   trims=bool(spaced))  # fmt: skip


def _begins_with_space(pattern: str) -> bool:
    return pattern.lstrip("^(?:")[:1] in (" ", ".") or pattern.lstrip("^(?:").startswith((r"\s", r"\W", "[", r"\D"))


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        raise HandloomError(MISSING) from None
    return llguidance


def _try(grammar: str, what: str, hints: bytes, is_json: bool, examples: Sequence[str]) -> str:
    """A short text of the grammar."""
    task = {"grammar": grammar, "json": is_json, "hints": list(hints), "limits": LIMITS, "seconds": SECONDS,
            "megabytes": MEGABYTES, "examples": list(examples)}  # fmt: skip
    try:
        answer = run(PROGRAM, task, 6 * SECONDS)
    except Ended as error:
        limits = f"the {SECONDS} s and {MEGABYTES} MB it may have"
        raise HandloomError(f"{what} is refused: it takes more time or memory than {limits}") from error
    if answer.get("error") == "endless":
        raise HandloomError(f"{what} is refused: no text that ends was found, of up to {completion.LONGEST:,} bytes "
                            f"and among {completion.MOST:,} beginnings")  # fmt: skip
    if "large" in answer:
        raise HandloomError(f"{what} is refused: it grows too large while a text of it is written ("
                            f"{_first(answer['large'])}); repetitions within repetitions do, where their counts are "
                            "large: smaller ones, or + and *, are no trouble")  # fmt: skip
    if "error" in answer:
        raise HandloomError(f"{what} is refused: {_first(answer['error'])}")
    if answer["warnings"]:
        raise HandloomError(f"{what} is refused: {_first('; '.join(answer['warnings']))}")
    return bytes(answer["text"]).decode("utf-8", "replace")


def _first(message: str) -> str:
    """What an error of llguidance says, without where in its own grammar that is and what the state was."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    said = [*lines[:1], *(line for line in lines[1:] if line.startswith("error:"))]
    text = PLACE.sub("", " ".join(said)) if lines else NOTHING
    return (NOTHING if text.startswith("NoExtension") else text)[:300]
