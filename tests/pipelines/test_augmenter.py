"""`augment` with models: a masked language model that guesses words, translators there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handloom import UsageError, augment
from handloom.pipelines import augmenter

ROWS = [("我爱北京天安门", [[2, 4, "LOC"]]), ("小猫在家", []), ("北京", [[0, 2, "LOC"]])]


def test_a_model_guesses_characters_outside_of_names(chinese: Path) -> None:
    found = augment(ROWS, "token-classification", "infill", model=chinese, times=2)
    assert found == augment(ROWS, "token-classification", ["infill"], model=chinese, times=2)
    copies = found.examples[3:]
    assert copies and "2 without anything to replace" in found.notes[-1]  # a name alone, twice
    for copy in copies:
        assert [span.text for span in copy.spans] == [copy.text[span.start : span.end] for span in copy.spans]
        assert [span.text for span in copy.spans] == (["北京"] if copy.labels else [])
        assert copy.text not in {text for text, _ in ROWS} and copy.extra["augmentation"] == "infill"


def test_a_text_that_is_too_long_has_no_copy(chinese: Path) -> None:
    found = augment([("我爱" * 40, "a"), ("小猫在家", "a")], "text-classification", "infill", model=chinese)
    assert {copy.extra["augmented_from"] for copy in found.examples[2:]} == {"小猫在家"}


def test_texts_go_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Turned:
        @classmethod
        def from_pretrained(cls, name: str, **how: Any) -> Turned:
            found = cls()
            found.name = name
            return found

        name = ""

        def predict(self, texts: list[str]) -> list[str]:
            return [text.upper() if self.name == "forth" else text.title() for text in texts]

    monkeypatch.setattr(augmenter, "Translator", Turned)
    found = augment([("a fine day", "x"), ("Rain", "y")], "text-classification", "back-translation", forth="forth",
                    back="back")  # fmt: skip
    assert [(one.text, one.label) for one in found] == [("a fine day", "x"), ("Rain", "y")]  # but for case the same
    monkeypatch.setattr(Turned, "predict", lambda self, texts: [text + "!" for text in texts])
    found = augment([("a fine day", "x"), ("Rain", "y")], how="back-translation", forth="f", back="b")
    assert [(one.text, one.label) for one in found.examples[2:]] == [("a fine day!!", "x"), ("Rain!!", "y")]
    with pytest.raises(UsageError, match="where labelled places stand in them is lost"):
        augment(ROWS, "token-classification", "back-translation", forth="f", back="b")


@pytest.mark.parametrize("how", ["synonym", "infill", "back-translation"])
def test_a_way_without_what_it_needs(how: str) -> None:
    with pytest.raises(UsageError, match=f"{how} needs"):
        augment([("a", "x"), ("b", "y")], "text-classification", how)


def test_words_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("day,night\n")
    found = augment([("a fine day", "x"), ("b", "y")], how="synonym", synonyms=tmp_path / "words.txt")
    assert [one.text for one in found] == ["a fine day", "b", "a fine night"]
