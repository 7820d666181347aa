"""Choosing by a language model's likelihood: beside whole texts, beside transformers, and in the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "generate"))
import tiny

from handloom import LikelihoodChooser
from handloom.cli.main import main
from handloom.data.examples import ChoiceExample
from handloom.errors import HandloomError, UsageError
from handloom.generate.generator import Writer

GIVEN = [
    ChoiceExample("the cat sat", ("on the mat", "by the dog and the door", "lay"), 1),
    ChoiceExample("the dog", ("on", "by the cat"), 0, "the door"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def chooser(folder: Path) -> LikelihoodChooser:
    return LikelihoodChooser.from_pretrained(folder)


def test_choices_read_side_by_side_have_the_scores_of_whole_texts(chooser: LikelihoodChooser) -> None:
    found = chooser.log_probabilities(GIVEN)
    for example, own in zip(GIVEN, found, strict=True):
        given = f"{example.context} {example.question}".strip()
        shared = len(chooser.generator.score(given))
        for choice, tokens in zip(example.choices, own, strict=True):
            whole = [one.log_probability for one in chooser.generator.score(f"{given} {choice}")]
            assert tokens == pytest.approx(whole[shared:], abs=1e-5)
    alone = [chooser.log_probabilities([example])[0] for example in GIVEN]
    assert alone == found  # whatever else is read beside it


def test_what_is_compared(folder: Path, chooser: LikelihoodChooser) -> None:
    [tokens] = chooser.log_probabilities(GIVEN[:1])
    sums = np.array([sum(one) for one in tokens])
    ways = {"sum": sums, "token": sums / [len(one) for one in tokens],
            "character": sums / [len(choice) for choice in GIVEN[0].choices]}  # fmt: skip
    for by, values in ways.items():
        other = LikelihoodChooser(chooser.generator, by)
        said = other.predict(("the cat sat", list(GIVEN[0].choices)))
        assert said.index == int(values.argmax())
        assert other.predict({"question": "the cat sat", "choices": list(GIVEN[0].choices)}) == said
        np.testing.assert_allclose(said.scores, np.exp(values - values.max()) / np.exp(values - values.max()).sum())
    scores = LikelihoodChooser(chooser.generator, "sum").evaluate([(e.question, e.choices, e.answer) for e in GIVEN])
    assert scores["accuracy"] in (0, 0.5, 1) and scores.intervals


def test_long_questions_and_bad_settings(chooser: LikelihoodChooser) -> None:
    long = ChoiceExample("the cat " * 40, ("on", "by the door"))
    [found] = chooser.log_probabilities([long])
    assert "1 of 1 questions are longer than the model's context" in chooser.notes[0]
    assert all(np.isfinite(value) for one in found for value in one)
    with pytest.raises(HandloomError, match="a choice is longer than the model's context"):
        chooser.log_probabilities([ChoiceExample("the cat", ("on", "the dog " * 60))])
    with pytest.raises(UsageError, match="cannot be compared by 'word'; there are sum, token, character"):
        LikelihoodChooser(chooser.generator, "word")
    with pytest.raises(UsageError, match="has neither"):
        LikelihoodChooser(chooser.generator, prompt="Answer:")


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["choose", str(folder), "the cat sat", "--choice", "on the mat", "--choice", "lay"]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["choices"] == ["on the mat", "lay"] and found["answer"] == found["choices"][found["choice"]]
    assert main([*asked, "--by", "sum", "--prompt", "by the door: {question}"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the cat sat\n") and out.count("→") == 1
    file = tmp_path / "questions.jsonl"
    rows: list[dict[str, Any]] = [{"question": e.question, "choices": e.choices, "answer": e.answer} for e in GIVEN]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["choose", str(folder), "--data", str(file), "--evaluate", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["metrics"]) == {"accuracy"}
    for words, message in ((asked[:5], "at least twice"), (asked[:2], "give either"),
                           ([*asked, "--evaluate"], "--evaluate needs --data"),
                           ([*asked[:2], "--data", str(file), "--choice", "a"], "holds its own choices")):  # fmt: skip
        assert main(words) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parity
def test_beside_transformers(folder: Path, chooser: LikelihoodChooser) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    generator: Writer = chooser.generator
    for example, own in zip(GIVEN, chooser.log_probabilities(GIVEN), strict=True):
        given = f"{example.context} {example.question}".strip()
        shared = len(generator.encode(given))
        for choice, tokens in zip(example.choices, own, strict=True):
            ids = torch.from_numpy(generator.encode(f"{given} {choice}").astype(np.int64))[None]
            with torch.no_grad():
                said = theirs(ids).logits[0].log_softmax(-1)
            wanted = [float(said[at - 1, ids[0, at]]) for at in range(shared, ids.shape[1])]
            assert tokens == pytest.approx(wanted, abs=1e-4)
