"""One labelled text, and a set of them with what is known of where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Generic, TypeVar

from handloom.data.labels import ONE, Label
from handloom.text.schemes import Scheme
from handloom.text.spans import Span, Word

TEXT, TOKEN, RELATION = "text-classification", "token-classification", "relation-extraction"
QUESTION = "question-answering"
TRANSLATION, SUMMARIZATION = "translation", "summarization"
SIMILARITY = "sentence-similarity"
CHOICE = "multiple-choice"
GENERATION = "text-generation"


@dataclass(frozen=True, slots=True)
class TextExample:
    """A text, or a text and its pair, with its label: a name, a number, a tuple of names; None where the data has none.
    `extra`: the other columns."""

    text: str
    pair: str | None = None
    label: Label | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names among them."""
        if isinstance(self.label, tuple):
            return self.label
        return (self.label,) if isinstance(self.label, str) else ()

    @property
    def parts(self) -> tuple[str, ...]:
        """What makes it another example than the next."""
        return (self.text, self.pair or "")

    @property
    def verdict(self) -> Label | None:
        """What the data says of it, in a form that can be compared; None if it says nothing."""
        return self.label


@dataclass(frozen=True, slots=True)
class TokenExample:
    """A text with spans.

    `words`: (start, end) of each word in characters of `text`, None where the data holds untouched text; `tags`: one a
    word as the data wrote them; `spans`: what they mean. Both are None where the data has no labels.
    """

    text: str
    words: tuple[Word, ...] | None = None
    tags: tuple[str, ...] | None = None
    spans: tuple[Span, ...] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def pair(self) -> None:
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each span."""
        return tuple(span.label for span in self.spans or ())

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.text, "")

    @property
    def verdict(self) -> tuple[tuple[int, int, str], ...]:
        return tuple((span.start, span.end, span.label) for span in self.spans or ())


@dataclass(frozen=True, slots=True)
class RelationExample:
    """A text with two places in it, and how they are related (None where the data has no labels). `first` is what the
    data calls e1, the head or the subject, wherever in the text it stands."""

    text: str
    first: Word
    second: Word
    label: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def pair(self) -> None:
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        return () if self.label is None else (self.label,)

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.marked("<e1>", "</e1>", "<e2>", "</e2>"),)

    @property
    def verdict(self) -> str | None:
        return self.label

    def marked(self, *marks: str) -> str:
        """The text with four marks in it: before and after the first place, before and after the second."""
        places = [(self.first, marks[:2]), (self.second, marks[2:])]
        (start, end), (open1, close1) = min(places)
        (start2, end2), (open2, close2) = max(places)
        text = self.text
        return "".join((text[:start], open1, text[start:end], close1, text[end:start2], open2, text[start2:end2],
                        close2, text[end2:]))  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuestionExample:
    """A question about a context, and where in it the answers stand: (start, end) in characters; () where it has none,
    None where the data does not say."""

    question: str
    context: str
    answers: tuple[Word, ...] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def text(self) -> str:
        return self.question

    @property
    def pair(self) -> str:
        return self.context

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.question, self.context)

    @property
    def verdict(self) -> tuple[Word, ...]:
        return tuple(sorted(self.answers or ()))

    @property
    def answer_texts(self) -> list[str]:
        return [self.context[start:end] for start, end in self.answers or ()]


@dataclass(frozen=True, slots=True)
class RewritingExample:
    """A text to be read, and the texts that may be written for it (none where the data has none): the first is learnt,
    all count in scores. beside: where these stand, if they are in a file of their own."""

    text: str
    targets: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    where: str = ""
    beside: str = ""

    @property
    def pair(self) -> None:
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.text, "")

    @property
    def verdict(self) -> tuple[str, ...] | None:
        return self.targets or None


@dataclass(frozen=True, slots=True)
class MatchExample:
    """Two texts. score: how alike they are, None where the data does not say, and then they belong together: a question
    and its answer, say. negative: a text that does not belong to the first."""

    text: str
    other: str
    score: float | None = None
    negative: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def pair(self) -> str:
        return self.other

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.text, self.other, self.negative or "")

    @property
    def verdict(self) -> float:
        """Pairs without a score belong together."""
        return 1.0 if self.score is None else self.score


@dataclass(frozen=True, slots=True)
class ChoiceExample:
    """A question, or a text to be gone on with, and what to choose from. answer: the number of the right choice, from
    0; None where the data has none. context: what the question is about, or ""."""

    question: str
    choices: tuple[str, ...]
    answer: int | None = None
    context: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def text(self) -> str:
        return self.question or self.context

    @property
    def pair(self) -> str | None:
        return self.context if self.question and self.context else None

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.context, self.question, *self.choices)

    @property
    def verdict(self) -> int | None:
        return self.answer


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side of a conversation says; role: "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class GenerationExample:
    """What a decoder learns to write: what the assistant says in a conversation; what follows a prompt; or, where both
    are empty, all of a text.

    turns: of a conversation. prompt, target: else; target is None where the data has none. goes_on: the text is a part
    of a longer one, of which this is not the end.
    """

    turns: tuple[Turn, ...] = ()
    prompt: str = ""
    target: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    where: str = ""
    goes_on: bool = False

    @property
    def text(self) -> str:
        return "\n".join(turn.content for turn in self.turns) if self.turns else self.prompt or self.target or ""

    @property
    def targets(self) -> tuple[str, ...]:
        """What is written and is no part of `text`."""
        return (self.target,) if self.prompt and self.target else ()

    @property
    def asked(self) -> tuple[Turn, ...]:
        """The conversation up to its last reply."""
        return self.turns[:-1] if self.turns and self.turns[-1].role == "assistant" else self.turns

    @property
    def answer(self) -> str | None:
        """What should be written at the end of a conversation or behind a prompt; None where nothing is known, or
        where all of a text is learnt."""
        if self.turns:
            return self.turns[-1].content if self.turns[-1].role == "assistant" else None
        return self.target if self.prompt else None

    @property
    def pair(self) -> None:
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def parts(self) -> tuple[str, ...]:
        said = "\n".join(turn.content for turn in self.asked) if self.turns else self.prompt
        return (said or self.target or "", "")

    @property
    def verdict(self) -> str | None:
        return self.answer if self.turns or self.prompt else self.target


Example = TypeVar(
    "Example", TextExample, TokenExample, RelationExample, QuestionExample, RewritingExample, MatchExample,
    ChoiceExample, GenerationExample,
)  # fmt: skip


SAID = ("label", "tags", "spans", "answers", "answer", "targets", "target")
"""Fields that hold what is true of an example, whatever its class."""


def unlabelled(example: Any) -> Any:
    """The same without what is true of it: those fields have their defaults."""
    return replace(example, **{one.name: one.default for one in fields(example) if one.name in SAID})


@dataclass(frozen=True, slots=True)
class Source:
    """Where data comes from. `sha256`: of the file's bytes; of the examples where there is no file."""

    path: str | None
    sha256: str
    form: str


@dataclass(frozen=True, slots=True)
class Dataset(Generic[Example]):
    """Examples in the order of their source. `notes`: what the reader decided, one sentence each; `scheme` and `unit`
    ("words" or "characters") say how tagged data is written; `problem` (one of labels.PROBLEMS) and `order` what the
    labels of texts are."""

    examples: tuple[Example, ...]
    source: Source
    notes: tuple[str, ...] = ()
    scheme: Scheme | None = None
    unit: str = "words"
    columns: dict[str, str] = field(default_factory=dict)
    problem: str = ONE
    order: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    @property
    def labels(self) -> list[str]:
        """The different labels (of spans, for tagged data), sorted."""
        return sorted({label for example in self.examples for label in example.labels})

    @property
    def texts(self) -> list[str]:
        return [example.text for example in self.examples]

    def select(self, indices: Sequence[int]) -> Dataset[Example]:
        """The examples at `indices`, in that order; the source stays."""
        return replace(self, examples=tuple(self.examples[index] for index in indices))

    def to_dict(self) -> dict[str, Any]:
        """What a run records of its data."""
        return {
            **asdict(self.source),
            "examples": len(self.examples),
            "notes": list(self.notes),
            "columns": dict(self.columns),
            **({"scheme": str(self.scheme), "unit": self.unit} if self.scheme else {}),
            **({"problem": self.problem} if self.problem != ONE else {}),
        }


def fingerprint(rows: Sequence[Any]) -> str:
    """SHA-256 of data that came without a file."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=True, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()
