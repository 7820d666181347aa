"""Every task with some examples and a tiny model, for the suite that all tasks pass: a row for each of ESTIMATORS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workplace import loaded, tiny_bert, tiny_llama

from handloom.data.examples import (
    CHOICE,
    GENERATION,
    QUESTION,
    RELATION,
    SIMILARITY,
    SUMMARIZATION,
    TEXT,
    TOKEN,
    TRANSLATION,
    ChoiceExample,
    GenerationExample,
    MatchExample,
    QuestionExample,
    RelationExample,
    RewritingExample,
    TextExample,
    TokenExample,
)
from handloom.tasks.matching import SCORED, TRIPLETS, Matching
from handloom.tasks.multiple_choice import MultipleChoice
from handloom.tasks.question_answering import QuestionAnswering
from handloom.tasks.relation_extraction import RelationExtraction
from handloom.tasks.rewriting import Rewriting
from handloom.tasks.several_labels import SeveralLabels
from handloom.tasks.text_classification import TextClassification
from handloom.tasks.text_generation import TextGeneration
from handloom.tasks.text_regression import TextRegression
from handloom.tasks.token_classification import TokenClassification
from handloom.testing import Subject
from handloom.testing.subject import MARK, ODD
from handloom.text.spans import Span
from handloom.train.estimators import ESTIMATORS

LONG = "the film was a very very good book and the book was a film in rome and in paris and it was great"


def encoder(folder: Path) -> Path:
    return folder if folder.is_dir() else tiny_bert.write(folder, layers=1)


def encoder_decoder(folder: Path) -> Path:
    return folder if folder.is_dir() else loaded("train/tiny_t5.py").write(folder, layers=1)


def text() -> dict[str, Any]:
    said = tiny_bert.opinions(9)
    return {"task": TextClassification(["neg", "pos"]),
            "examples": [*(TextExample(t, label=y) for t, y in said), TextExample(LONG, label="pos"),
                         TextExample("the film", "a book was bad", "neg")]}  # fmt: skip


def several() -> dict[str, Any]:
    """Any number of labels a text."""

    def example(text: str, *labels: str) -> TextExample:
        return TextExample(text, label=labels)

    return {"task": SeveralLabels(["bad", "film", "good"]),
            "examples": [example("a film was great", "film", "good"), example("sad"), example("book was awful", "bad"),
                         example("film", "film"), example("a very poor film", "bad", "film"), example("good", "good"),
                         example(LONG, "film", "good"), example("the book")],
            "unknown": TextExample("film", label=("nobody",), where=MARK)}  # fmt: skip


def numbers() -> dict[str, Any]:
    texts = ["awful", "a poor film", "the film was fine", "a good book", "great", "a very lovely film"]
    return {"task": TextRegression(3.0, 1.5),
            "examples": [*(TextExample(text, label=float(i)) for i, text in enumerate(texts)),
                         TextExample(LONG, label=4.5)],
            "unknown": TextExample("film", label="many", where=MARK)}  # fmt: skip


def tokens() -> dict[str, Any]:
    def example(text: str, *spans: tuple[str, str]) -> TokenExample:
        places = [(text.index(part), part, kind) for part, kind in spans]
        return TokenExample(text, spans=tuple(Span(at, at + len(part), kind, part) for at, part, kind in places))

    return {"task": TokenClassification(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]),
            "examples": [example("anna lives in paris", ("anna", "PER"), ("paris", "LOC")),
                         example("marie curie works in new york", ("marie curie", "PER"), ("new york", "LOC")),
                         example("the film was good"), example("bob", ("bob", "PER")),
                         example(LONG, ("rome", "LOC"), ("paris", "LOC")), example("rome meets bob", ("rome", "LOC"))],
            "odd": [example(text) for text in ODD],
            "unknown": TokenExample("bob", spans=(Span(0, 3, "NOBODY", "bob"),), where=MARK)}  # fmt: skip


def chained() -> dict[str, Any]:
    """The same by a conditional random field over the means of sub-words."""
    row = tokens()
    return {**row, "task": TokenClassification(row["task"].labels, subwords="mean", crf=True)}


def relations() -> dict[str, Any]:
    def example(text: str, first: str, second: str, label: str | None, where: str = "") -> RelationExample:
        places = [(text.index(part), text.index(part) + len(part)) for part in (first, second)]
        return RelationExample(text, places[0], places[1], label, where=where)

    far = f"anna {LONG} bob"
    return {"task": RelationExtraction(["At(e1,e2)", "At(e2,e1)", "Other"]),
            "examples": [example("anna lives in rome", "anna", "rome", "At(e1,e2)"),
                         example("in paris works bob", "paris", "bob", "At(e2,e1)"),
                         example("bob meets anna", "bob", "anna", "Other"), example(far, "anna", "bob", "Other"),
                         example("bob works in new york", "bob", "new york", "At(e1,e2)"),
                         example("in rome lives anna", "rome", "anna", "At(e2,e1)")],
            "odd": [example(f"a{text}b{text}c", f"a{text}b", f"{text}c"[-1], None) for text in ODD],
            "unknown": example("bob meets anna", "bob", "anna", "unheard of", MARK)}  # fmt: skip


def questions() -> dict[str, Any]:
    def example(question: str, context: str, answer: str | None) -> QuestionExample:
        place = () if answer is None else ((context.index(answer), context.index(answer) + len(answer)),)
        return QuestionExample(question, context, place)

    return {"task": QuestionAnswering(threshold=0.0),
            "examples": [example("in", "anna lives in rome", "rome"), example("works", "bob works in new york", "bob"),
                         example("lives", "the film was good", None), example("in", LONG, "paris"),
                         example("the", "the film", "film"), example("was", "anna meets bob", None)],
            "odd": [QuestionExample(text, f"{text} . a {text}") for text in ODD]}  # fmt: skip


def found() -> dict[str, Any]:
    """Texts that belong together; the first words of a pair are not the second's."""
    pairs = [("anna lives", "in rome"), ("bob works", "in paris"), ("marie curie meets", "the book"),
             ("a film", "was great"), ("very bad", "and sad"), (LONG, "new york")]  # fmt: skip
    return {"task": Matching(symmetric=True), "examples": [MatchExample(one, other) for one, other in pairs]}


def triplets() -> dict[str, Any]:
    pairs = [example.parts[:2] for example in found()["examples"]]
    wrong = ["the film", "a book", "bob", "paris", "lovely", "anna"]
    return {"task": Matching(TRIPLETS, "cls"),
            "examples": [MatchExample(*pair, None, other) for pair, other in zip(pairs, wrong, strict=True)]}


def scored() -> dict[str, Any]:
    pairs = [example.parts[:2] for example in found()["examples"]]
    return {"task": Matching(SCORED),
            "examples": [MatchExample(*pair, i / 5) for i, pair in enumerate(pairs)]}  # fmt: skip


def choices() -> dict[str, Any]:
    given = [
        ChoiceExample("anna lives in", ("rome", "book"), 0), ChoiceExample("bob works in", ("a", "film", "paris"), 2),
        ChoiceExample("the film was", ("good", "anna", "bob", "rome"), 0),
        ChoiceExample("", ("is", "great"), 1, LONG), ChoiceExample("bob meets", ("was", "anna"), 1),
        ChoiceExample("a very", ("sad book", "in"), 0),
    ]  # fmt: skip
    return {"task": MultipleChoice(), "examples": given,
            "odd": [ChoiceExample(text, ("a", f"a {text}")) for text in ODD]}  # fmt: skip


def rewritings(what: str) -> Callable[[], dict[str, Any]]:
    def made() -> dict[str, Any]:
        words = [("cat sees dog", "Katze sieht Hund"), ("big fish", "groß Fisch"),
                 ("bird hears cat", "Vogel hört Katze"),
                 ("red cat", "rot Katze"), ("small dog likes fish", "klein Hund mag Fisch"),
                 ("big red cat sees small red bird big red dog hears small red fish cat likes bird",
                  "groß rot Katze sieht klein rot Vogel")]  # fmt: skip
        return {"task": Rewriting(what, 0), "examples": [RewritingExample(one, (other,)) for one, other in words],
                "odd": [RewritingExample(text) for text in ODD], "model": encoder_decoder}  # fmt: skip

    return made


def decoder(folder: Path) -> Path:
    return folder if folder.is_dir() else Path(tiny_llama.write(folder))


def generations() -> dict[str, Any]:
    """Prompts with what follows; of conversations see test_dialogue.py."""
    words = [("the cat", " sat"), ("the dog", " lay by"), ("a mat", " the cat"), ("a door", " the dog"),
             ("What is", " Paris"),
             ("the cat sat on the mat and the dog lay by the door and the cat", " sat")]  # fmt: skip
    return {"task": TextGeneration(1, frozenset({1, 5})), "model": decoder,
            "examples": [GenerationExample(prompt=one, target=other) for one, other in words],
            "odd": [GenerationExample(prompt=f"a {text}") for text in ODD]}  # fmt: skip


ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    TEXT: text,
    f"{TEXT} several": several,
    f"{TEXT} number": numbers,
    TOKEN: tokens,
    f"{TOKEN} crf": chained,
    RELATION: relations,
    QUESTION: questions,
    SIMILARITY: found,
    f"{SIMILARITY} triplets": triplets,
    f"{SIMILARITY} scores": scored,
    CHOICE: choices,
    TRANSLATION: rewritings(TRANSLATION),
    SUMMARIZATION: rewritings(SUMMARIZATION),
    GENERATION: generations,
}
"""A task, six or more labelled examples, and what else Subject wants. model: what writes it; else an encoder. A name
may go on behind its task's: what else of the task there is."""


def subject(name: str, folder: Path) -> Subject:
    row = ROWS[name]()
    make = row.pop("model", encoder)
    examples: Sequence[Any] = row.pop("examples")
    kind = ESTIMATORS[name.split()[0]]
    return Subject(row.pop("task"), examples, make(folder / make.__name__), estimator=kind, **row)
