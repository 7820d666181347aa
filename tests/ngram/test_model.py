"""An n-gram model as a user has it: edges, baselines, characters, sampling, perplexity, files of text."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from handloom import HandloomError, NgramModel, UsageError


def test_add_k_by_hand() -> None:
    """(c + k) / (total + k V), V: a b c </s> <unk>."""
    model = NgramModel.train(["a b", "a c", "a b"], 2, method="add-k", constant=0.5)
    found = dict(zip(model.vocabulary, model.distribution("a").tolist(), strict=True))
    assert found == pytest.approx(
        {"b": 2.5 / 5.5, "c": 1.5 / 5.5, "a": 0.5 / 5.5, "</s>": 0.5 / 5.5, "<unk>": 0.5 / 5.5, "<s>": 0}
    )
    assert model.log10("a") == pytest.approx(math.log10(3.5 / 5.5 * 0.5 / 5.5), abs=1e-6)
    assert model.distribution("zebra")[2:] == pytest.approx([0.2] * 4)  # a context that was never seen


def test_stupid_backoff_by_hand() -> None:
    model = NgramModel.train(["a b", "a c", "a b"], 3, method="stupid-backoff", constant=0.4)
    b_after_c = 0.4 * 0.4 * 2 / 9  # neither "a c b" nor "c b" was seen
    assert model.scores(["a c b"]).log10 == pytest.approx(np.log10([1, 1 / 3, b_after_c, 0.4 * 1]), abs=1e-6)
    unknown = model.scores(["zebra a"]).log10
    assert unknown[0] == pytest.approx(math.log10(0.4 / 9), abs=1e-6)
    assert unknown[1] == pytest.approx(math.log10(0.4 * 0.4 * 3 / 9), abs=1e-6)
    assert model.distribution("a").sum() == pytest.approx(1)


@pytest.mark.parametrize("source", [[], [""], ["", "  ", "\t"], ["\u3000"]])
def test_an_empty_corpus_is_an_error(source: list[str], tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match="the corpus holds no token"):
        NgramModel.train(source)
    file = tmp_path / "corpus.txt"
    file.write_text("\n".join(source), encoding="utf-8")
    with pytest.raises(HandloomError, match=r"corpus\.txt (holds no token|is empty)"):
        NgramModel.train(file)


def test_one_word() -> None:
    model = NgramModel.train(["word"], 5)
    assert model.order == 3  # <s> word </s>
    assert model.vocabulary == ["<unk>", "<s>", "</s>", "word"]
    assert model.distribution("word").sum() == pytest.approx(1)
    assert model.scores(["word"]).log10[0] > model.scores(["other"]).log10[0]


def test_an_order_above_the_corpus_is_the_highest_that_there_is(lines: list[str]) -> None:
    high, enough = NgramModel.train(lines, 50), NgramModel.train(lines, 14)
    assert high.order == max(len(line.split()) for line in lines) + 2 == 14
    assert (high.scores(lines).log10 == enough.scores(lines).log10).all()


def test_order_one_knows_words_alone(lines: list[str]) -> None:
    model = NgramModel.train(lines, 1)
    assert model.order == 1
    assert (model.distribution("the cat") == model.distribution()).all()


def test_many_texts_are_scored_as_each_alone(lines: list[str]) -> None:
    model = NgramModel.train(lines, 4)
    texts = ["the cat", "", "unknown words here", *lines]
    together = model.scores(texts)
    assert together.sentences == pytest.approx([model.log10(text) for text in texts], abs=0)
    assert len(together.starts) == len(texts) + 1 and together.starts[-1] == len(together.ids)
    for text, start, end in zip(texts, together.starts, together.starts[1:], strict=False):
        assert model.tokens(together.ids[start:end])[-1] == "</s>"
        assert end - start == len(text.split()) + 1
    assert model.log10("the\ncat") == model.log10("the cat")


def test_tokens_one_by_one(lines: list[str]) -> None:
    model = NgramModel.train(lines, 3)
    found = model.score("the cat zebra")
    assert [one.token for one in found] == ["the", "cat", "<unk>", "</s>"]
    assert [one.known for one in found] == [True, True, False, True] and [one.order for one in found] == [2, 3, 1, 1]
    total = model.log10("the cat zebra") * math.log(10)
    assert sum(one.log_probability or 0 for one in found) == pytest.approx(total)
    assert [(one.start, one.end) for one in found] == [(0, 3), (4, 7), (8, 13), (13, 13)]
    spread = model.score("the  cat\nzebra ")
    assert [one.log_probability for one in spread] == [one.log_probability for one in found]
    assert [(one.start, one.end) for one in spread] == [(0, 3), (5, 8), (9, 14), (15, 15)]
    likely = model.next_token_probabilities("the cat", top=2)
    assert [one.token for one in likely] == [model.vocabulary[one.id] for one in likely] and len(likely) == 2
    best = np.sort(model.distribution("the cat"))[:-3:-1]
    assert [one.probability for one in likely] == best.tolist()


def test_marks_are_no_words(lines: list[str]) -> None:
    model = NgramModel.train(lines, 3)
    assert model.scores(["the <s> cat </s>"]).ids.tolist() == model.scores(["the zebra cat zebra"]).ids.tolist()
    for mark in ("<s>", "</s>", "<unk>"):
        with pytest.raises(HandloomError, match=f"sentence 2: {mark} is a word of the text"):
            NgramModel.train(["a b", f"a {mark} b"])
    assert "<s>" not in NgramModel.train(["<s>"], unit="characters").vocabulary[3:]


def test_unicode_and_chinese_characters() -> None:
    texts = ["我爱北京", "我 爱 天安门", "naïve 😀 café", "e\u0301\u200dx"]
    model = NgramModel.train(texts, 3, unit="characters")
    assert {"我", "▁", "😀", "ï", "\u0301", "\u200d"} <= set(model.vocabulary)
    assert len(model.scores(["我爱"]).ids) == 3
    assert model.scores(["我爱"]).log10[0] > model.scores(["天爱"]).log10[0]
    assert model.sample("我 爱", length=1, seed=1)[0].startswith("我 爱")
    words = NgramModel.train(["ein\u00a0zwei\u3000drei"])
    assert words.vocabulary[3:] == ["ein", "zwei", "drei"]


def test_the_same_seed_gives_the_same_text(lines: list[str]) -> None:
    model = NgramModel.train(lines, 3)
    three = model.sample(count=3, seed=5)
    assert three == model.sample(count=3, seed=5) and three[:1] == model.sample(seed=5)
    assert three != model.sample(count=3, seed=6)
    assert len(set(model.sample(count=20, seed=1))) > 5
    known = set(model.vocabulary[3:])
    assert all(word in known for text in model.sample(count=20) for word in text.split())
    assert all(text.startswith("the cat") for text in model.sample("the cat", count=3))
    assert all(len(text.split()) <= 2 for text in model.sample(count=20, length=2))
    cold = {model.sample("the cat sat", length=1, temperature=0.01, seed=seed)[0] for seed in range(5)}
    assert cold == {"the cat sat on"}


def test_samples_come_as_often_as_they_are_likely() -> None:
    model = NgramModel.train(["a"] * 3 + ["b"], 2)
    likely = model.distribution()
    likely[0] = 0
    likely /= likely.sum()
    drawn = [text or "</s>" for text in model.sample(count=2000, length=1)]
    for word, probability in zip(model.vocabulary, likely, strict=True):
        assert drawn.count(word) / 2000 == pytest.approx(probability, abs=0.04)


def test_perplexity_by_hand(lines: list[str]) -> None:
    model = NgramModel.train(lines, 3)
    texts = ["the cat sat", "", "a zebra sat"]
    scores = model.scores(["the cat sat", "a zebra sat"])
    found = model.perplexity(texts)
    assert (found.texts, found.tokens, found.unknown, found.size) == (2, 8, 1, 25)
    assert found.perplexity == pytest.approx(10 ** (-scores.log10.sum() / 8))
    assert found.perplexity_known == pytest.approx(10 ** (-scores.log10[scores.known].sum() / 7))
    assert found.bits_per_byte == pytest.approx(8 * math.log2(found.perplexity) / 25)
    with pytest.raises(HandloomError, match="holds no token"):
        model.perplexity(["", " "])


def test_texts_from_files(lines: list[str], tmp_path: Path) -> None:
    plain, packed, other = tmp_path / "a.txt", tmp_path / "b.txt.gz", tmp_path / "c.txt"
    plain.write_bytes("\r\n".join([*lines, "", "é"]).encode("utf-8-sig"))
    packed.write_bytes(gzip.compress("\n".join([*lines, "é"]).encode()))
    other.write_text("\n".join([*lines, "é"]), encoding="cp1252")
    models = [NgramModel.train([*lines, "é"]), NgramModel.train(plain), NgramModel.train(str(packed))]
    models.append(NgramModel.train(other, encoding="cp1252"))
    for model in models[1:]:
        assert model.vocabulary == models[0].vocabulary
        assert (model.scores(lines).log10 == models[0].scores(lines).log10).all()
    with pytest.raises(HandloomError, match=r"c\.txt:11: 0xE9 is not UTF-8"):
        NgramModel.train(other)
    with pytest.raises(UsageError, match="no encoding 'latin-99'"):
        NgramModel.train(other, encoding="latin-99")
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(HandloomError, match=r"b\.txt\.gz is a broken gzip file"):
        NgramModel.train(packed)
    (tmp_path / "zero").write_bytes(b"a b\nc \0 d\n")
    with pytest.raises(HandloomError, match="zero:2: a zero byte"):
        NgramModel.train(tmp_path / "zero")
    (tmp_path / "marked").write_text("a\nb\nc <unk>\n")
    with pytest.raises(HandloomError, match="marked:3: <unk> is a word"):
        NgramModel.train(tmp_path / "marked")
    with pytest.raises(HandloomError, match="does not exist"):
        NgramModel.train(tmp_path / "none.txt")


def test_a_text_in_many_blocks(lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("\n".join([*lines, "中文 字", "\ud7a3 last"]), encoding="utf-8")
    whole = NgramModel.train(file)
    for size in (1, 2, 7, 64):
        monkeypatch.setattr("handloom.ngram.files.BLOCK", size)
        model = NgramModel.train(file)
        assert model.vocabulary == whole.vocabulary and (model.scores(lines).log10 == whole.scores(lines).log10).all()
        found, wanted = model.perplexity(file), whole.perplexity([*lines, "中文 字", "\ud7a3 last"])
        assert found.log_probability == pytest.approx(wanted.log_probability)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"order": 0}, "the order is 0"),
        ({"unit": "letters"}, "no unit 'letters'; tokens are words or characters"),
        ({"method": "katz"}, "no method 'katz'; there are kneser-ney, add-k, stupid-backoff"),
        ({"method": "add-k", "constant": 0.0}, "must be above 0"),
        ({"method": "stupid-backoff", "constant": 1.0}, "must be above 0 and below 1"),
        ({"constant": 0.5}, "kneser-ney has no constant"),
        ({"prune": [1, 0]}, "do not decrease"),
        ({"prune": [-1]}, "do not decrease"),
        ({"order": 2, "prune": [0, 0, 1]}, "one for each order up to 2"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        NgramModel.train(["a b"], **settings)  # type: ignore[arg-type]


def test_sampling_that_makes_no_sense() -> None:
    model = NgramModel.train(["a b"])
    for wrong in ({"count": 0}, {"length": -1}, {"temperature": 0.0}, {"temperature": math.nan}, {"seed": -1}):
        with pytest.raises(UsageError, match=f"{next(iter(wrong))} is"):
            model.sample(**wrong)  # type: ignore[arg-type]
