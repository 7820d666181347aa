"""One protocol for every kind of language model: `hl.scorer` opens it, scores and probabilities are the logits'."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handloom as hl
import handloom.tensor as ht
from handloom import NgramModel
from handloom.cli.main import main
from handloom.errors import HandloomError, UsageError
from handloom.generate.generator import Writer
from handloom.models.registry import load_model
from handloom.pipelines import fill_mask
from handloom.pipelines.fill_mask import FillMask
from handloom.scoring import Perplexity, Scorer, TokenScore, log_probability

TEXT = "我爱北京，小猫在家。"


class Counting(Scorer):
    """A letter has the probability 1/2; the first has none, and an end mark 1/4."""

    def score(self, text: str, *, source: str | None = None) -> list[TokenScore]:
        letters = [TokenScore(c, ord(c), math.log(0.5) if i else None, i, i + 1) for i, c in enumerate(text)]
        return [*letters, TokenScore("</s>", 0, math.log(0.25), len(text), len(text))]

    def next_token_probabilities(self, text: str = "", top: int = 10, *, source: str | None = None) -> list[Any]:
        return []


def test_perplexity_of_texts_by_hand() -> None:
    found = Counting().perplexity(["abc", " ", "é"])
    assert found == Perplexity(2, 4, 2, 5, pytest.approx(2 * math.log(0.5) + 2 * math.log(0.25)))
    assert found.perplexity == pytest.approx(2**1.5)
    assert found.bits_per_byte == pytest.approx(1.5 * 6 / 5)
    assert log_probability(Counting().score("abc")) == pytest.approx(math.log(1 / 16))
    with pytest.raises(HandloomError, match="no token that could be scored"):
        Counting().perplexity(["", "\n"])
    with pytest.raises(UsageError, match="a list of texts"):
        Counting().perplexity("abc")
    for sources, said in ((["x"], "fewer sources"), (["x", "y", "z"], "more sources")):
        with pytest.raises(UsageError, match=said):
            Counting().perplexity(["a", "b"], sources=sources)


def logits_of(folder: Path, ids: list[int]) -> np.ndarray:
    """f64 log-softmax of a masked model's logits, of one sequence."""
    model, _, _ = load_model(folder, "fill-mask", dropout=0.0)
    batch = {"ids": ids, "positions": range(len(ids)), "types": [0] * len(ids), "starts": [0, len(ids)]}
    given = {name: ht.tensor(np.array(values, np.int32)) for name, values in batch.items()}
    rows = model(given).numpy().astype(np.float64)
    rows -= rows.max(1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(1, keepdims=True))


def test_a_masked_model_scores_each_token_behind_a_mask(chinese: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill_mask, "SCORED", 3)
    model = hl.scorer(chinese)
    assert isinstance(model, FillMask)
    found = model.score(TEXT)
    ids = [one.id for one in found]
    assert [one.log_probability for one in (found[0], found[-1])] == [None, None]
    for index, one in enumerate(found[1:-1], 1):
        masked = [*ids[:index], model.tokenizer.mask, *ids[index + 1 :]]
        assert one.log_probability == pytest.approx(logits_of(chinese, masked)[index, one.id], abs=1e-4)
        assert TEXT[one.start : one.end] == one.token
    pseudo = model.perplexity([TEXT])
    assert pseudo.loss == pytest.approx(-log_probability(found) / len(TEXT)) and pseudo.unscored == 0


def test_what_a_masked_model_expects_next(chinese: Path) -> None:
    model = hl.scorer(chinese)
    assert isinstance(model, FillMask)
    for text in ("我爱", ""):
        ids = model.tokenizer.ids(text).tolist()
        rows = logits_of(chinese, [*ids[:-1], model.tokenizer.mask, ids[-1]])
        found = model.next_token_probabilities(text, top=50)
        assert found[0].id == rows[-2].argmax() and sum(one.probability for one in found) == pytest.approx(1)
        wanted = np.exp(rows[-2])[[one.id for one in found]]
        np.testing.assert_allclose([one.probability for one in found], wanted, atol=1e-5)
    with pytest.raises(HandloomError, match="36 tokens with a mask after it; the model takes 32"):
        model.next_token_probabilities("我" * 33)


def test_of_a_long_text_a_masked_model_sees_what_is_around(chinese: Path) -> None:
    """Of 50 tokens between [CLS] and [SEP], 30 fit: those around the token, as far as the text goes."""
    model = hl.scorer(chinese)
    text = (TEXT * 5)[:50]
    found = model.score(text)
    ids = [one.id for one in found]
    for place, (begin, end) in {1: (1, 31), 20: (5, 35), 50: (21, 51)}.items():
        masked = [ids[0], *ids[begin:end], ids[-1]]
        masked[1 + place - begin] = model.tokenizer.mask  # type: ignore[attr-defined]
        wanted = logits_of(chinese, masked)[1 + place - begin, ids[place]]
        assert found[place].log_probability == pytest.approx(wanted, abs=1e-4)


def test_ngram_models_and_what_is_no_model(chinese: Path, tmp_path: Path) -> None:
    NgramModel.train(["the cat sat", "the dog sat"], 2).save(tmp_path / "lm.arpa")
    model = hl.scorer(tmp_path / "lm.arpa")
    assert isinstance(model, NgramModel)
    assert log_probability(model.score("the cat")) == pytest.approx(model.log10("the cat") * math.log(10))
    [first, second] = model.score_all(["the cat", "dog"])
    assert first == model.score("the cat") and second == model.score("dog")
    for asked in (model, hl.scorer(chinese)):
        with pytest.raises(UsageError, match="a source is for encoder–decoders"):
            asked.score("the", source="x")
        with pytest.raises(UsageError, match="top must be at least 1"):
            asked.next_token_probabilities("the", top=0)
    with pytest.raises(UsageError, match="unit is for n-gram models"):
        hl.scorer(chinese, unit="words")


def test_the_commands_print_what_python_says(
    chinese: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = hl.scorer(chinese)
    Path("some.txt").write_text("我爱北京\n\n小猫\n", encoding="utf-8")
    assert main(["score", str(chinese), "--data", "some.txt", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["我爱北京", "", "小猫"]
    assert rows[0]["tokens"] == [one.to_dict() for one in model.score("我爱北京")]
    assert rows[2]["log_probability"] == pytest.approx(log_probability(model.score("小猫")))
    assert main(["score", str(chinese), "小猫", "--tokens"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"{rows[2]['log_probability']:.4f}\t小猫"
    assert [line.split()[-1] for line in shown[2:4]] == [*"小猫"]
    for how, texts in (("lines", ["我爱北京", "小猫"]), ("file", ["我爱北京\n\n小猫\n"])):
        assert main(["perplexity", str(chinese), "--data", "some.txt", "--documents", how, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == model.perplexity(texts).to_dict()
    for words, said in (
        (["score", "m", "a", "--sources", "some.txt"], "belongs --source TEXT"),
        (["score", "m", "--data", "some.txt", "--source", "a"], "belongs --sources FILE"),
        (["perplexity", "m", "--data", "a", "--sources", "b", "--documents", "file"], "leave --documents"),
    ):
        assert main(words) == 2
        assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parity
def test_masked_scores_are_those_of_transformers(chinese: Path) -> None:
    torch = pytest.importorskip("torch")
    import transformers

    theirs = transformers.BertForMaskedLM.from_pretrained(chinese).eval()
    found = hl.scorer(chinese).score(TEXT)
    ids = torch.tensor([[one.id for one in found]])
    for index in range(1, len(found) - 1):
        masked = ids.clone()
        masked[0, index] = 4
        with torch.no_grad():
            wanted = theirs(masked).logits[0, index].double().log_softmax(-1)[ids[0, index]]
        assert found[index].log_probability == pytest.approx(float(wanted), abs=1e-4)


@pytest.mark.parity
def test_a_decoder_scores_as_transformers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import transformers

    torch.manual_seed(0)
    shape = {"vocab_size": 60, "n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 16, "initializer_range": 0.4}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape)).eval()
    theirs.save_pretrained(tmp_path)
    vocabulary = {"[UNK]": 0, **{chr(97 + i): i + 1 for i in range(26)}}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                 "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False},
                 "post_processor": None, "decoder": None,
                 "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}}  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    ours = hl.scorer(tmp_path)
    assert isinstance(ours, Writer)
    text = "thequickbrownfoxjumpsoverthelazydog"  # 35 letters, in windows of 16 and one that is told
    ids = torch.tensor([[vocabulary[c] for c in text]])
    wanted: list[float] = []
    with torch.no_grad():
        for begin, first in ((0, 1), (8, 17), (16, 25), (18, 33)):
            rows = theirs(ids[:, begin : begin + 16]).logits[0].double().log_softmax(-1)
            last = min(begin + 17, len(text))
            wanted += [float(rows[at - 1 - begin, ids[0, at]]) for at in range(first, last)]
    found = [one.log_probability for one in ours.score(text)]
    assert found[0] is None
    np.testing.assert_allclose(np.array(found[1:], float), wanted, atol=1e-4)
