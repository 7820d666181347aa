"""A look at labelled data before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handloom.data.examples import (
    ChoiceExample,
    Dataset,
    GenerationExample,
    MatchExample,
    QuestionExample,
    RelationExample,
    RewritingExample,
    TextExample,
    TokenExample,
)
from handloom.data.inexact import inexact_places
from handloom.data.labels import NUMBER, SEVERAL
from handloom.data.matches import assumed_span, useless_triplets
from handloom.data.tagging import inexact_spans
from handloom.data.texts import AnyExample, text_key
from handloom.errors import HandloomError
from handloom.text.counting import agreed, counted
from handloom.text.encoding import Encoding
from handloom.text.tokenizer import Tokenizer
from handloom.text.unknown import LIMIT
from handloom.text.width import filled, shown, widest

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
IMBALANCE = 20
"""How many times commoner the commonest label is than the rarest, before it is worth a warning."""
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at. `severity`: "error" (training or scoring would be wrong), "warning" or "note"; `examples`:
    the first places or names."""

    severity: str
    kind: str
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("severity", "kind", "message", "count")} | {
            "examples": list(self.examples)
        }


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split: counts, lengths at QUANTILES in characters and (with a tokenizer) tokens, unknown tokens' share; where
    labels are numbers, these at QUANTILES."""

    name: str
    examples: int
    labels: dict[str, int]
    characters: tuple[int, ...]
    tokens: tuple[int, ...] | None = None
    unknown: float | None = None
    notes: tuple[str, ...] = ()
    numbers: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        numbers = {} if self.numbers is None else {
            "numbers": {f"{q:g}": value for q, value in zip(QUANTILES, self.numbers, strict=True)}
        }  # fmt: skip
        lengths = {"characters": self.characters, "tokens": self.tokens}
        return {
            "examples": self.examples,
            "labels": dict(self.labels),
            "lengths": {
                unit: {f"{q:g}": value for q, value in zip(QUANTILES, values, strict=True)}
                for unit, values in lengths.items()
                if values is not None
            },
            "unknown_share": self.unknown,
            "notes": list(self.notes),
            **numbers,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """`str()` is the plain text, `to_dict()` what --json prints."""

    splits: tuple[SplitSummary, ...]
    findings: tuple[Finding, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing was found that makes training or scoring wrong."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "splits": {summary.name: summary.to_dict() for summary in self.splits},
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def __str__(self) -> str:
        lines = []
        for one in self.splits:
            labels = f", {counted(len(one.labels), 'label')}" if one.labels else ""
            size = f"{counted(one.examples, 'example')}{labels}"
            lines += [f"{one.name}: {size}", *(f"  {note}" for note in one.notes)]
            heads = "".join(f"{f'{q:.0%}':>8}" for q in QUANTILES)
            lines.append(f"  {'length at':<14}{heads}")
            for unit, values in (("characters", one.characters), ("tokens", one.tokens)):
                if values is not None:
                    lines.append(f"  {unit:<14}" + "".join(f"{value:>8}" for value in values))
            if one.numbers is not None:
                lines.append(f"  {'numbers':<14}" + "".join(f" {value:>7.3g}" for value in one.numbers))
            lines += _balance(one.labels)
        lines += [f"{finding.severity}: {finding.message}" for finding in self.findings] or ["Nothing stands out."]
        return "\n".join(lines)


def _balance(labels: Mapping[str, int]) -> list[str]:
    total = sum(labels.values())
    ranked = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    some = ranked if len(ranked) <= 12 else [*ranked[:6], ("…", 0), *ranked[-5:]]
    rows = [(shown(name), count) for name, count in some]
    width = widest([name for name, _ in rows])
    return [
        f"  {filled(name, width)}{count:>8}  {count / total:6.1%}" if count else f"  {name}" for name, count in rows
    ]


AnySplit = (
    Dataset[TextExample]
    | Dataset[TokenExample]
    | Dataset[RelationExample]
    | Dataset[QuestionExample]
    | Dataset[RewritingExample]
    | Dataset[MatchExample]
    | Dataset[ChoiceExample]
    | Dataset[GenerationExample]
)


def check(
    train: AnySplit, valid: AnySplit | None = None, test: AnySplit | None = None, tokenizer: Tokenizer | None = None
) -> Report:
    """Duplicates in and across splits, conflicting labels, balance, lengths, unseen labels, blanks, unknown tokens.

    Read the data with `blanks="keep"` to have empty texts reported here and not as an error.
    """
    splits = {name: data for name, data in (("train", train), ("valid", valid), ("test", test)) if data is not None}
    findings: list[Finding] = []
    summaries = []
    for name, data in splits.items():
        summary, found = _summary(name, data, tokenizer)
        summaries.append(summary)
        findings += found
    keyed = {name: _by_text(data) for name, data in splits.items()}
    for name, data in splits.items():
        findings += _inside(name, data, keyed[name])
    findings += _across(splits, keyed)
    findings += _span(splits.values())
    unlabelled = (QuestionExample, MatchExample, ChoiceExample, RewritingExample, GenerationExample)
    if train.problem != NUMBER and not any(isinstance(example, unlabelled) for example in train):
        # a tagged word is in a span or outside, and a text has one of several labels or not: two classes at least
        several = train.problem == SEVERAL or any(isinstance(example, TokenExample) for example in train)
        findings += _labels(summaries, several)
    rank = ("error", "warning", "note")
    return Report(tuple(summaries), tuple(sorted(findings, key=lambda finding: rank.index(finding.severity))))


def _summary(name: str, data: AnySplit, tokenizer: Tokenizer | None) -> tuple[SplitSummary, list[Finding]]:
    labels = Counter(label for example in data for label in example.labels)
    characters = [len(example.text) + len(example.pair or "") for example in data]
    tokens, share, findings = None, None, []
    if tokenizer is not None:
        encodings = _encode(data, tokenizer)
        tokens = [len(coded) for coded in encodings]
        unknown = tokenizer.unknown_report(data.texts, encodings, warn=False)
        share = unknown.share
        if share > LIMIT:
            names = tuple(character for character, _ in unknown.characters[:SHOWN])
            findings.append(Finding("warning", "unknown", f"{name}: {unknown.message}", unknown.unknown, names))
        limit = tokenizer.max_length
        if limit and (long := sum(length > limit for length in tokens)):
            findings.append(
                Finding("note", "long", f"{name}: {counted(long, 'text')} longer than the model's {limit} tokens", long)
            )
    quantiles = None if tokens is None else _quantiles(tokens)
    summary = SplitSummary(name, len(data), dict(labels), _quantiles(characters), quantiles, share, data.notes,
                           _numbers(data))  # fmt: skip
    return summary, findings


def _numbers(data: AnySplit) -> tuple[float, ...] | None:
    if data.problem != NUMBER:
        return None
    values = [e.label for e in data if isinstance(e, TextExample) and isinstance(e.label, float)]
    return tuple(np.quantile(values, QUANTILES).tolist()) if values else None


def _encode(data: AnySplit, tokenizer: Tokenizer) -> list[Encoding]:
    words = [example.words for example in data if isinstance(example, TokenExample) and example.words is not None]
    if len(words) == len(data):
        return tokenizer.encode_words_batch(data.texts, words)
    return tokenizer.encode_batch(data.texts, [example.pair for example in data])


def _quantiles(lengths: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in np.quantile(lengths, QUANTILES, method="higher")) if lengths else (0,) * 7


def _by_text(data: AnySplit) -> dict[Hashable, list[AnyExample]]:
    found: dict[Hashable, list[AnyExample]] = {}
    for example in data:
        if example.text.strip():
            found.setdefault(text_key(example), []).append(example)
    return found


def _place(example: AnyExample) -> str:
    text = shown(example.text, 60)
    return f"{example.where}: {text}" if example.where else text


def _wanting(example: AnyExample) -> str:
    """Where that should stand which an example lacks."""
    return (example.beside if isinstance(example, RewritingExample) else "") or example.where


def _empty(example: AnyExample) -> bool:
    paired = isinstance(example, (QuestionExample, MatchExample))
    return not example.text.strip() or (paired and not (example.pair or "").strip())


def _unlabelled(example: AnyExample) -> bool:
    if isinstance(example, GenerationExample):  # of a conversation that ends with a question its other replies count
        return bool(example.prompt) and not (example.target or "").strip()
    return example.verdict is None


LACKING: Mapping[str, Callable[[AnyExample], bool]] = {
    "without a label": lambda example: not isinstance(example, RewritingExample) and _unlabelled(example),
    "with nothing to write": lambda example: isinstance(example, RewritingExample) and not example.targets,
    "without a score": lambda example: isinstance(example, MatchExample) and example.score is None,
    "without a text that does not belong to it":
        lambda example: isinstance(example, MatchExample) and not (example.negative or "").strip(),
}  # fmt: skip
"""How an example is called that lacks what training asks of it; what only MatchExamples have, all of them have or
none."""
ALWAYS = ("without a label", "with nothing to write")

VERDICTS: Mapping[type, str] = {
    QuestionExample: "answers", ChoiceExample: "answers", MatchExample: "scores", RewritingExample: "texts to write",
    GenerationExample: "texts to write",
}  # fmt: skip
"""What a task calls that which is true of an example, where that is no label."""


def _verdicts(example: AnyExample) -> str:
    return VERDICTS.get(type(example), "labels")


def _inside(name: str, data: AnySplit, keyed: dict[Hashable, list[AnyExample]]) -> list[Finding]:
    findings = []
    rows: list[AnyExample] = list(data)
    empty = [example.where or str(index) for index, example in enumerate(rows) if _empty(example)]
    if empty:
        message = f"{name}: {counted(len(empty), 'empty text')} ({', '.join(empty[:SHOWN])})"
        findings.append(Finding("error", "empty", message, len(empty), tuple(empty[:SHOWN])))
    for what, lacks in LACKING.items():
        some = [_wanting(example) or str(index) for index, example in enumerate(rows) if lacks(example)]
        if some and (what in ALWAYS or len(some) < len(rows)):
            message = f"{name}: {counted(len(some), 'text')} {what} ({', '.join(some[:SHOWN])})"
            findings.append(Finding("error", "unlabelled", message, len(some), tuple(some[:SHOWN])))
    tagged = [example for example in rows if isinstance(example, TokenExample)]
    placed = [example for example in rows if isinstance(example, (QuestionExample, RelationExample))]
    inexact = (*inexact_spans(tagged, data.unit), *inexact_places(placed))
    findings += [Finding("warning", "spans", f"{name}: {note}") for note in inexact]
    matches = [example for example in rows if isinstance(example, MatchExample)]
    findings += [Finding("warning", "triplets", f"{name}: {note}") for note in useless_triplets(matches)]
    repeated = [group for group in keyed.values() if len(group) > 1]
    extra = sum(len(group) - 1 for group in repeated)
    if extra:
        places = tuple(_place(group[0]) for group in repeated[:SHOWN])
        message = f"{name}: {counted(extra, 'repetition')} of {counted(len(repeated), 'text')}, such as {places[0]!r}"
        findings.append(Finding("warning", "duplicates", message, extra, places))
    conflicts = [group for group in repeated if len({example.verdict for example in group}) > 1]
    if conflicts:
        places = tuple(_place(group[0]) for group in conflicts[:SHOWN])
        message = (
            f"{name}: {counted(len(conflicts), 'text')} with different {_verdicts(rows[0])} in different places, such "
            f"as {places[0]!r}"
        )
        findings.append(Finding("warning", "conflicts", message, len(conflicts), places))
    return findings


def shared_texts(splits: Mapping[str, AnySplit]) -> list[str]:
    """A sentence for each two splits that have texts in common, or are one file."""
    return [one.message for one in _across(splits, {name: _by_text(data) for name, data in splits.items()})
            if one.kind in ("leak", "same-file")]


def _across(
    splits: Mapping[str, AnySplit], keyed: Mapping[str, dict[Hashable, list[AnyExample]]]
) -> list[Finding]:
    findings = []
    names = list(splits)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            if splits[first].source.sha256 == splits[second].source.sha256 and splits[first].source.path:
                same = keyed[first].keys() == keyed[second].keys()
                if same:
                    message = f"{first} and {second} are the same file"
                    findings.append(Finding("error", "same-file", message, len(splits[first])))
                    continue
            shared = [key for key in keyed[second] if key in keyed[first]]
            if not shared:
                continue
            rows = sum(len(keyed[second][key]) for key in shared)
            places = tuple(_place(keyed[second][key][0]) for key in shared[:SHOWN])
            message = (
                f"{rows:,} of the {counted(len(splits[second]), 'text')} in {second} {agreed(rows, '[is|are]')} in "
                f"{first}, too ({rows / len(splits[second]):.1%}), such as {places[0]!r}; "
                f"{agreed(rows, '[it makes|they make]')} scores look better than they are"
            )
            findings.append(Finding("warning", "leak", message, rows, places))
            verdicts = [{example.verdict for example in [*keyed[first][key], *keyed[second][key]]} for key in shared]
            odd = [key for key, found in zip(shared, verdicts, strict=True) if len(found) > 1]
            if odd:
                places = tuple(_place(keyed[second][key][0]) for key in odd[:SHOWN])
                message = (
                    f"{first} and {second}: {counted(len(odd), 'text')} with different "
                    f"{_verdicts(splits[first][0])}, such as {places[0]!r}"
                )
                findings.append(Finding("warning", "conflicts", message, len(odd), places))
    return findings


def _span(splits: Iterable[AnySplit]) -> list[Finding]:
    """Of scores that are no labels 0 and 1, on which scale a training reads them."""
    pairs = [example for data in splits for example in data if isinstance(example, MatchExample)]
    scores = [pair.score for pair in pairs if pair.score is not None]
    if set(scores) <= {0, 1}:
        return []
    try:
        return [Finding("note", "score-range", note) for note in assumed_span(scores)]
    except HandloomError as error:
        return [Finding("warning", "score-range", str(error))]


def _labels(summaries: Sequence[SplitSummary], several: bool) -> list[Finding]:
    findings = []
    train = summaries[0]
    if len(train.labels) == 1 and not several:
        (only,) = train.labels
        message = f"train: the only label is '{shown(only)}'; there is nothing to tell apart"
        findings.append(Finding("error", "one-class", message, examples=(only,)))
    elif not train.labels:
        findings.append(Finding("error", "no-labels", "train: there are no labels"))
    if len(train.labels) > 1:
        common, rare = max(train.labels.values()), min(train.labels.values())
        if common > IMBALANCE * rare:
            name = min(train.labels, key=lambda label: (train.labels[label], label))
            message = (
                f"train: the commonest label is {common / rare:.0f} times as common as the rarest "
                f"('{shown(name)}', {rare}); --class-weights balanced gives each the same weight"
            )
            findings.append(Finding("warning", "imbalance", message, examples=(name,)))
    for other in summaries[1:]:
        unseen = sorted(other.labels.keys() - train.labels.keys())
        if unseen:
            rows = sum(other.labels[label] for label in unseen)
            them = agreed(len(unseen), "[it|they]")
            named = ", ".join(map(shown, unseen[:SHOWN]))
            often = "once" if rows == 1 else f"{rows} times"
            message = (
                f"{other.name}: {counted(len(unseen), 'label')} that train never shows ({named}"
                f"{' …' if len(unseen) > SHOWN else ''}), {often}; {them} cannot be predicted"
            )
            findings.append(Finding("error", "unseen-labels", message, len(unseen), tuple(unseen[:SHOWN])))
    return findings
