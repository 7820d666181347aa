from __future__ import annotations

from html.parser import HTMLParser

import numpy as np

from handloom.tasks.scores import Mistake, Scores
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
        "99.0 %",
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
