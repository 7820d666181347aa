"""Questions with several answers to choose from, in the forms of SWAG, HellaSwag, RACE, COPA, CommonsenseQA, ARC and
Winogrande."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handloom.data import columns
from handloom.data.examples import ChoiceExample, Dataset, Source
from handloom.data.labels import blank, text_string
from handloom.data.options import Options, Record, refuse
from handloom.data.records import names_of
from handloom.errors import HandloomError
from handloom.text.counting import counted

USUAL = {
    "context": (
        "context", "article", "passage", "paragraph", "premise", "sent1", "ctx", "story", "document", "上下文",
        "文章", "段落",
    ),
    "question": ("question", "question_stem", "stem", "sent2", "text", "query", "sentence", "prompt", "问题", "题目"),
    "choices": ("choices", "options", "endings", "alternatives", "candidates", "选项", "候选"),
    "answer": (
        "answer", "label", "answerkey", "answer_key", "correct", "correct_answer", "gold", "target", "答案", "标签",
    ),
}  # fmt: skip
"""Names of columns, by what they hold."""
_NUMBERED = re.compile(r"(choice|ending|option|alternative|candidate|sol|选项)[_ ]?(\d{1,2}|[a-z])", re.IGNORECASE)
COPA = {"cause": "What was the cause?", "effect": "What happened as a result?"}
LEAST = 2


def read_choices(records: Sequence[Record], source: Source, options: Options) -> Dataset[ChoiceExample]:
    """From rows with a question, or a context, or both; choices as a list, as {"text": […], "label": […]}, or in
    columns of their own (ending0, ending1, …; A, B, …); and the answer: a choice's name, its text, its letter, or its
    number, the first of these that fits; numbers as in _Answers.

    Raises HandloomError for fewer than two choices, for empty ones, and for an answer that is none of them.
    """
    records = [_unfolded(record) for record in records]
    names = names_of(records)
    where = source.path or "the data"
    used, numbered = _columns(names, options, where)
    told = _Answers.of([record.values.get(used["answer"]) for record in records] if "answer" in used else (), numbered)
    examples = tuple(_example(record, used, numbered, told) for record in records)
    if options.blanks == "error":
        refuse([e.where for e in examples if not (e.question.strip() or e.context.strip())],
               "neither a question nor a context", "Fill or remove them.")  # fmt: skip
        if options.labelled:
            refuse([e.where for e in examples if e.answer is None], f"no answer (column {used.get('answer')!r})",
                   "Fill or remove them.")  # fmt: skip
    notes = options.told(used)
    notes += [f"choices: columns {', '.join(map(repr, numbered))}"] * bool(numbered)
    notes += told.notes()
    counts = sorted({len(example.choices) for example in examples})
    many = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    notes.append(f"{counted(len(examples), 'question')} with {many} choices")
    shown = {**used, **({"choices": ", ".join(numbered)} if numbered else {})}
    return Dataset(examples, source, tuple(notes), columns=shown)


def _unfolded(record: Record) -> Record:
    """With the parts of a question that is an object (ARC, CommonsenseQA's own files) as columns."""
    inner = record.values.get("question")
    if not isinstance(inner, dict):
        return record
    rest = {name: value for name, value in record.values.items() if name != "question"}
    own = {("question" if name == "stem" else name): value for name, value in inner.items()}
    return Record(record.where, {**rest, **own})


def _columns(names: Sequence[str], options: Options, where: str) -> tuple[dict[str, str], list[str]]:
    used: dict[str, str] = {}
    asked = {"question": ("text", options.text_column), "context": ("pair", options.pair_column),
             "answer": ("label", options.label_column)}  # fmt: skip
    for role, (option, wanted) in asked.items():
        if wanted is not None and (role != "answer" or options.labelled):
            used[role] = columns.choose(names, wanted, f"--{option}-column", where)
    numbered = numbered_columns([name for name in names if name not in used.values()])
    for role, usual in USUAL.items():
        free = [name for name in names if name not in (*used.values(), *numbered)]
        skipped = (role == "answer" and not options.labelled) or (role == "choices" and bool(numbered))
        if role not in used and not skipped and (name := columns.guess(free, usual)):
            used[role] = name
    there = columns.listed(names)
    if "choices" not in used and not numbered:
        raise HandloomError(f"{where}: where are the choices? There are {there}; a list in a column 'choices', or "
                            "columns choice1, choice2, … are needed.")  # fmt: skip
    if not {"question", "context"} & used.keys():
        raise HandloomError(f"{where}: which column is the question? There are {there}; name it with --text-column.")
    if options.labelled and "answer" not in used:
        raise HandloomError(f"{where}: which column is the answer? There are {there}; name it with --label-column.")
    return used, numbered


def numbered_columns(names: Sequence[str]) -> list[str]:
    """Columns that hold a choice each, in the order of their numbers: choice1, choice2; A, B, C."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name.strip())
        if match:
            end = match[2].lower()
            found.setdefault(match[1].lower(), []).append((int(end) if end.isdigit() else ord(end), name))
    if not found:
        letters = [name for name in names if re.fullmatch("[A-Z]", name.strip())]
        found = {"": [(ord(name.strip()), name) for name in letters]}
    best = max(found.values(), key=len)
    return [name for _, name in sorted(best)] if len(best) >= LEAST else []


def _example(
    record: Record, used: Mapping[str, str], numbered: Sequence[str], told: _Answers
) -> ChoiceExample:
    values, where = record.values, record.where
    texts = {}
    for role in ("context", "question"):
        texts[role] = text_string(values.get(used[role]), used[role], where) if role in used else ""
    if texts["context"]:
        texts["question"] = COPA.get(texts["question"].strip(), texts["question"])
    choices, names = _choices(values, used, numbered, where)
    answer = None
    if "answer" in used:
        given = values.get(used["answer"])
        answer = None if blank(given) else told.place(given, choices, names, where)
    extra = {name: value for name, value in values.items() if name not in (*used.values(), *numbered)}
    return ChoiceExample(texts["question"], choices, answer, texts["context"], extra, where)


def _choices(
    values: Mapping[str, Any], used: Mapping[str, str], numbered: Sequence[str], where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts of the choices, and their names if the data gives them any."""
    if numbered:
        found: Any = [values.get(name) for name in numbered]
        while found and blank(found[-1]):  # a question with fewer choices than others
            found.pop()
    else:
        found = values.get(used["choices"])
    names: Any = ()
    if isinstance(found, Mapping):
        names, found = found.get("label", ()), found.get("text")
    found, names = (one.tolist() if hasattr(one, "tolist") else one for one in (found, names))
    if isinstance(found, list) and found and all(isinstance(one, Mapping) for one in found):
        names, found = [one.get("label", "") for one in found], [one.get("text") for one in found]
    if not isinstance(found, (list, tuple)) or len(found) < LEAST:
        raise HandloomError(f"{where}: at least {LEAST} choices are needed, as a list, not {found!r:.60}")
    for number, one in enumerate(found):
        if not isinstance(one, str) or not one.strip():
            raise HandloomError(f"{where}: choice {number} should be a text, not {one!r:.60}")
    if names and (not isinstance(names, (list, tuple)) or len(names) != len(found)):
        raise HandloomError(f"{where}: there are {len(found)} choices, but not as many labels of theirs: {names!r:.60}")
    return tuple(found), tuple(str(name) for name in names)


@dataclass
class _Answers:
    """How answers are taken. first: the number of the first choice; numbers: how many are numbers; unsure: those that
    could be taken in two ways."""

    first: int
    numbers: int = 0
    unsure: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, given: Sequence[Any], numbered: Sequence[str]) -> _Answers:
        """Numbers begin with 0; with 1 where the names of the choices' columns do, as in Winogrande's files, and no
        answer is 0, as one is in COPA's."""
        named = _NUMBERED.fullmatch(numbered[0].strip()) if numbered else None
        from_one = named is not None and named[2].isdigit() and int(named[2]) == 1
        return cls(int(from_one and all(_number(answer) != 0 for answer in given)))

    def place(self, given: Any, choices: Sequence[str], names: Sequence[str], where: str) -> int:
        """The place of the right choice: by its name, its text, its letter, or its number, whichever fits first."""
        ways = self._ways(given, choices, names, where)
        way, found = next(iter(ways.items()), ("", None))
        if found is None or not 0 <= found < len(choices):
            letter = chr(ord("A") + len(choices) - 1) if len(choices) <= 26 else "Z"
            last = len(choices) - 1 + self.first
            needed = f"a text of theirs, A to {letter}, or a number from {self.first} to {last} is needed"
            hint = "" if self.first or found != len(choices) or way != "number" else (
                ". Are they counted from 1? Then subtract 1 from all, or put the choices into columns choice1, "
                "choice2, …, of which the answers are numbers")
            said = f"the answer {given!r:.60} is none of the {len(choices)} choices"
            raise HandloomError(f"{where}: {said}: {needed}{hint}")
        self.numbers += way == "number"
        if len({place for place in ways.values() if 0 <= place < len(choices)}) > 1:
            self.unsure.append(f"{given!r:.40} ({where})")
        return found

    def _ways(self, given: Any, choices: Sequence[str], names: Sequence[str], where: str) -> dict[str, int]:
        """All that an answer may mean, the likeliest first."""
        number, found = _number(given), dict[str, int]()
        word = given.strip() if isinstance(given, str) else "" if number is None else str(number)
        if word in names:
            found["name"] = list(names).index(word)
        if isinstance(given, str):
            texts = [choice.strip() for choice in choices]
            if texts.count(word) > 1 and not found:
                raise HandloomError(f"{where}: the answer {word!r:.60} stands among the choices more than once")
            if word in texts:
                found["text"] = texts.index(word)
            if re.fullmatch("[A-Za-z]", word):
                found["letter"] = ord(word.upper()) - ord("A")
        if number is not None:
            found["number"] = number - self.first
        return found

    def notes(self) -> list[str]:
        """How they were taken, where that is no matter of course."""
        why = ", as the columns' names are" * self.first
        found = [f"answers: numbers, counted from {self.first}{why}"] * bool(self.numbers)
        if self.unsure:
            found.append(f"{counted(len(self.unsure), 'answer')} could be taken in two ways: a choice's name or text "
                         f"counts before a letter or number (the first: {self.unsure[0]})")  # fmt: skip
        return found


def _number(given: Any) -> int | None:
    """A whole number, written or as it is; None for anything else."""
    if isinstance(given, float) and given.is_integer():
        return int(given)
    if isinstance(given, str) and given.strip().isdecimal():
        return int(given)
    return given if type(given) is int else None
