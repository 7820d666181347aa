"""The commands as a user types them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from handloom import NgramModel
from handloom.cli.main import main


@pytest.fixture
def work(lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    Path("heldout.txt").write_text("the cat sat on a dog\n\na zebra ate\n", encoding="utf-8")
    NgramModel.train(lines, 3).save("lm.arpa.gz")
    return tmp_path


def under(words: tuple[str, ...]) -> list[str]:
    return [*(["ngram"] if words[0] in ("train", "sample") else []), *words]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(under(words)) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    assert main(under(words)) == code
    out, err = capsys.readouterr()
    assert not out
    return err


def test_train_writes_what_python_writes(work: Path, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "train", "corpus.txt", "--order", "3", "--out", "new.arpa.gz", "--test", "heldout.txt")
    assert "discounts" in out and "new.arpa.gz" in out and "perplexity" in out and "2 texts" in out
    assert Path("new.arpa.gz").read_bytes() == Path("lm.arpa.gz").read_bytes()
    words = ("train", "corpus.txt", "--order", "3", "--prune", "0,0,1", "--out", "new.arpa", "--json")
    found = json.loads(printed(capsys, *words))
    assert found["ngrams"] == [len(level) for level in NgramModel.train(lines, 3, prune=[0, 0, 1]).levels]
    assert "--overwrite" in refused(capsys, 2, "train", "corpus.txt", "--out", "new.arpa")
    assert found["order"] == NgramModel.load("new.arpa").order == 3


def test_train_says_what_became_of_a_small_corpus(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.txt").write_text("a b\n")
    assert main(["ngram", "train", "small.txt", "--out", "small.arpa"]) == 0
    said = capsys.readouterr().err
    assert "the model's order is 4" in said and "too small to estimate discounts of order 1, 2, 3, 4" in said


def test_baselines_are_measured(work: Path, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("train", "corpus.txt", "--order", "2", "--method", "add-k", "--constant", "0.5")
    found = json.loads(printed(capsys, *words, "--test", "heldout.txt", "--json"))
    model = NgramModel.train(lines, 2, method="add-k", constant=0.5)
    assert found["test"]["perplexity"] == pytest.approx(model.perplexity("heldout.txt").perplexity)
    assert "cannot be written as an ARPA file" in refused(capsys, 2, *words, "--out", "k.arpa")
    assert "--out FILE" in refused(capsys, 2, *words)
    assert main(["ngram", "train", "corpus.txt", "--method", "stupid-backoff", "--test", "heldout.txt"]) == 0
    assert "no probabilities" in capsys.readouterr().err


def test_score(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = NgramModel.load("lm.arpa.gz")
    totals = [model.log10(text) * math.log(10) for text in ("the cat sat", "a zebra")]
    out = printed(capsys, "score", "lm.arpa.gz", "the cat sat", "a zebra")
    assert out == f"{totals[0]:.4f}\tthe cat sat\n{totals[1]:.4f}\ta zebra\n"
    rows = [
        json.loads(row)
        for row in printed(capsys, "score", "lm.arpa.gz", "--data", "heldout.txt", "--json").splitlines()
    ]
    assert [row["text"] for row in rows] == ["the cat sat on a dog", "", "a zebra ate"]
    assert [part["token"] for part in rows[2]["tokens"]] == ["a", "<unk>", "ate", "</s>"]
    assert rows[2]["tokens"] == [one.to_dict() for one in model.score("a zebra ate")]
    assert sum(part["log_probability"] for part in rows[2]["tokens"]) == pytest.approx(rows[2]["log_probability"])
    shown = printed(capsys, "score", "lm.arpa.gz", "the cat", "--tokens").splitlines()
    assert len(shown) == 4 and shown[2].split()[1:] == ["cat"]
    assert "not both" in refused(capsys, 2, "score", "lm.arpa.gz", "a", "--data", "heldout.txt")
    assert "nothing to score" in refused(capsys, 2, "score", "lm.arpa.gz")


def test_perplexity(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "perplexity", "lm.arpa.gz", "--data", "heldout.txt", "--json"))
    assert found == NgramModel.load("lm.arpa.gz").perplexity("heldout.txt").to_dict()
    assert f"{found['perplexity']:.2f}" in printed(capsys, "perplexity", "lm.arpa.gz", "--data", "heldout.txt")
    Path("chinese.txt").write_text("我爱北京\n", encoding="utf-8")
    assert main(["perplexity", "lm.arpa.gz", "--data", "chinese.txt"]) == 0
    assert "--unit characters" in capsys.readouterr().err
    words = ("perplexity", "lm.arpa.gz", "--data", "heldout.txt")
    assert "a sentence on each line" in refused(capsys, 2, *words, "--documents", "file")


def test_sample(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("sample", "lm.arpa.gz", "the cat", "--count", "3", "--seed", "7", "--length", "8")
    texts = NgramModel.load("lm.arpa.gz").sample("the cat", count=3, seed=7, length=8)
    assert printed(capsys, *words).splitlines() == texts
    assert [json.loads(row)["text"] for row in printed(capsys, *words, "--json").splitlines()] == texts
    assert "temperature is 0.0" in refused(capsys, 2, "sample", "lm.arpa.gz", "--temperature", "0")


def test_complaints(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no model 'none.arpa'" in refused(capsys, 1, "score", "none.arpa", "a")
    assert "corpus.txt: no line \\data\\" in refused(capsys, 1, "sample", "corpus.txt")
    assert "there is no folder" in refused(capsys, 1, "train", "corpus.txt", "--out", "none/lm.arpa")
    assert "--prune 0,x" in refused(capsys, 2, "train", "corpus.txt", "--out", "a.arpa", "--prune", "0,x")
    assert "no unit 'letters'" in refused(capsys, 2, "train", "corpus.txt", "--out", "a.arpa", "--unit", "letters")
    Path("empty.txt").write_text(" \n\n")
    assert "empty.txt holds no token" in refused(capsys, 1, "train", "empty.txt", "--out", "a.arpa")
    assert not list(Path().glob("*a.arpa*"))
