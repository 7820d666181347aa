from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from handloom.cli.tables import mistakes_table
from handloom.data.examples import GenerationExample, MatchExample, RewritingExample, TextExample, Turn
from handloom.tasks.matching import LABELLED, SCORED, Match, Matching
from handloom.tasks.matching import PAIRS as PAIRED
from handloom.tasks.rewriting import Rewriting, Written
from handloom.tasks.scores import Mistake, Scores
from handloom.tasks.text_classification import Prediction, TextClassification
from handloom.tasks.text_generation import TextGeneration
from handloom.tasks.text_regression import Number, TextRegression
from handloom.train.report import Report, framed, render

_VOID = {"meta", "br", "line", "rect", "circle", "polyline"}


class Balanced(HTMLParser):
    """Checks that every element is closed and that nothing is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def full_report() -> Report:
    label = "<b>&\"'"
    row = {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4.0}
    after = Scores(
        {"accuracy": 0.912, "macro_f1": 0.9, "loss": 0.3},
        {"accuracy": (0.88, 0.94)},
        {label: row},
        confusion=np.array([[3, 1], [0, 2]]),
        confusion_labels=(label, "y"),
        mistakes=[Mistake("<img src=x onerror=alert(1)>", label, "y", 0.99)],
        before=Scores({"accuracy": 0.5, "macro_f1": 0.33}, {}, {label: {**row, "f1": 0.1}}),
    )
    return Report(
        title="runs/<script>alert(1)</script>",
        summary="text-classification",
        metric="macro_f1",
        measured_on="test",
        after=after,
        baselines={"majority": Scores({"accuracy": 0.51})},
        losses=[(1, 1.0), (2, 0.5), (3, float("nan"))],
        history=[
            {"step": 2, "metrics": {"loss": 0.7, "accuracy": 0.8}},
            {"step": 4, "metrics": {"loss": 0.6, "accuracy": 0.9}},
        ],
        details={"settings": {"lr": 1e-4, "x": "<i>"}},
    )


TALK = (Turn("user", "How old?"), Turn("assistant", "Ten years."))
PAIRS = [MatchExample("a", "b", score=1.0), MatchExample("a", "c", score=0.0)]
KINDS: dict[str, tuple[Scores, str, dict[str, str]]] = {
    "classes": (
        TextClassification(["n", "y"]).score([TextExample("a", label="n")], [Prediction("y", 0.75, {})]),
        "Worst mistakes: wrong, and sure of it", {"sure": "0.75", "true": "n", "predicted": "y", "text": "a"},
    ),
    "numbers": (
        TextRegression(0.0, 1.0).score([TextExample("a", label=3.0), TextExample("b", label=1.0)],
                                       [Number(5.0), Number(1.0)]),
        "Worst mistakes: the farthest off", {"true": "3", "predicted": "5", "text": "a"},
    ),
    "summaries": (
        Rewriting("summarization", 0, "").score([RewritingExample("a b c", ("a b",))], [Written("x")]),
        "The lowest scores", {"score": "0.00", "true": "a b", "predicted": "x", "text": "a b c"},
    ),
    "replies": (
        TextGeneration(0, talks=True).score([GenerationExample(TALK)], [Written("Five.")]),
        "The lowest scores", {"score": "0.00", "true": "Ten years.", "predicted": "Five.", "text": "How old?"},
    ),
    "pairs of labels": (
        Matching(LABELLED, threshold=0.5).score(PAIRS, [Match(0.25), Match(0.125)]),
        "Worst mistakes: the farthest off",
        {"cosine": "0.25", "true": "same", "predicted": "different", "text": "a ⏐ b"},
    ),
    "pairs of scores": (
        Matching(SCORED, span=(0.0, 5.0)).score([MatchExample("a", "b", score=5.0), MatchExample("a", "c", score=2.5)],
                                                [Match(0.25), Match(0.5)]),
        "Worst mistakes: the farthest off", {"off by": "0.75", "true": "5", "cosine": "0.25", "text": "a ⏐ b"},
    ),
    "searches": (
        Matching(PAIRED).score([MatchExample("a", "b")], [Match(0.25, ranks=(2,), right=1, best="c", share=1.0)]),
        "Worst mistakes: another text is nearer", {"cosine": "0.25", "right": "b", "nearest": "c", "text": "a"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_are_shown_as_fits_the_task(kind: str) -> None:
    scores, title, first = KINDS[kind]
    made = mistakes_table(scores)
    cells = {str(column.header): str(next(iter(column.cells))) for column in made.columns}
    assert (made.title, cells) == (title, first)
    page = render(Report("", "", "", after=scores))
    assert title in page and all(f">{head}</th>" in page for head in first)


def test_page_is_well_formed_escaped_and_self_contained() -> None:
    page = render(full_report())
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    text = " ".join(parser.text)
    for shown in (
        "91.2 %",
        "88.0 – 94.0",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<b>&\"'",
        "0.99",
        "majority",
    ):
        assert shown in text
    assert "http" not in page


def test_an_empty_report_still_renders() -> None:
    parser = Balanced()
    parser.feed(render(Report("t", "s", "accuracy")))
    assert parser.open == []


def test_a_notebook_shows_the_same_page() -> None:
    class Frame(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag == "iframe"
            self.given = dict(attrs)

    frame = Frame()
    page = render(full_report())
    frame.feed(framed(page, "<b>"))
    assert frame.given["srcdoc"] == page and frame.given["title"] == "<b>" and "sandbox" in frame.given
