"""Translation and summarization: data of every form and what is said when it is wrong, training, writing, scores."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_t5 import ENGLISH, GERMAN, write

from handloom.cli.main import main
from handloom.data.examples import SUMMARIZATION, TRANSLATION
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.generate.generator import Writer
from handloom.tasks.scorers import SCORERS, bleu, chrf, rouge_l, words
from handloom.text.tokenizer import Tokenizer
from handloom.train.comparing import compare
from handloom.train.estimators import load
from handloom.train.extractive import lead
from handloom.train.matchers import SentenceMatcher
from handloom.train.rewriters import Summarizer, Translator


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    picks = [rng.integers(0, len(ENGLISH), rng.integers(2, 6)).tolist() for _ in range(count)]
    return [(" ".join(ENGLISH[i] for i in pick), " ".join(GERMAN[i] for i in pick)) for pick in picks]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("models") / "tiny")


# -- data


def pairs(found: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [(example.text, example.targets) for example in found]


def test_forms_of_the_same_pairs(tmp_path: Path) -> None:
    rows = [("a cat", "eine Katze"), ("ein Wort", "一个词")]
    wanted = [(source, (target,)) for source, target in rows]
    table = tmp_path / "x.tsv"
    table.write_text("en\tde\n" + "\n".join("\t".join(row) for row in rows), "utf-8")
    lines = tmp_path / "x.jsonl"
    lines.write_text("\n".join(json.dumps({"source": s, "target": [t]}) for s, t in rows), "utf-8")
    sides = tmp_path / "x.en", tmp_path / "x.de"
    for side, path in enumerate(sides):
        path.write_text("\r\n".join(row[side] for row in rows) + "\n", "utf-8")
    assert pairs(read(table, TRANSLATION, text_column="en", label_column="de")) == wanted
    for data in (rows, lines, sides, [{"article": s, "summary": t} for s, t in rows]):
        assert pairs(read(data, SUMMARIZATION)) == wanted
    assert pairs(read(["only this"], TRANSLATION, labelled=False)) == [("only this", ())]
    assert pairs(read([{"text": "a", "references": ["b", "c"]}], SUMMARIZATION)) == [("a", ("b", "c"))]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"source": "a"}, "which column is the text to write"),
        ({"source": "a", "target": ""}, "nothing to write (column 'target'): row 0"),
        ({"source": "a", "target": []}, "nothing to write"),
        ({"source": " ", "target": "b"}, "an empty text"),
        ({"source": "a", "target": 3}, "should hold a text or a list of texts, not 3"),
        ({"source": ["a"], "target": "b"}, "column 'source' should hold a text"),
    ],
)
def test_what_is_wrong_with_a_row(row: dict[str, Any], said: str) -> None:
    with pytest.raises(HandloomError) as caught:
        read([row], TRANSLATION)
    assert said in str(caught.value)


def test_parallel_files_of_unequal_length(tmp_path: Path) -> None:
    english, german = tmp_path / "x.en", tmp_path / "x.de"
    source = [f"this is the sentence number {i} of a long file" for i in range(8)]
    target = [f"das ist der Satz Nummer {i} einer langen Datei" for i in range(8)]
    english.write_text("\n".join(source), "utf-8")
    german.write_text("\n".join(target[:7]), "utf-8")
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 14, 60).tolist()
    words = [("word " * size, "Wort " * size) for size in sizes]
    english.write_text("\n".join(a for a, _ in words), "utf-8")
    german.write_text("\n".join(b for i, (_, b) in enumerate(words) if i != 11), "utf-8")
    with pytest.raises(HandloomError, match=r"has 60 lines and .*x.de 59: .*looks shifted: .*x.en:12 "):
        read((english, german), TRANSLATION)
    english.write_text("\n".join(source), "utf-8")
    german.write_text("\n".join(target[:7]), "utf-8")
    with pytest.raises(HandloomError, match=r"has 8 lines and .*x.de 7: .*The first line without one: .*x.en:8"):
        read((english, german), TRANSLATION)
    german.write_text("\n".join([*target[:3], "Ja.", *target[3:], "Nein."]), "utf-8")
    with pytest.raises(HandloomError, match=r"looks shifted: .*x.en:4 .*x.de:4 'Ja.'"):
        read((english, german), TRANSLATION)
    german.write_text("\n".join([*target[:3], "", *target[4:]]), "utf-8")
    with pytest.raises(HandloomError, match=r"1 row with an empty line: .*x.de:4"):
        read((english, german), TRANSLATION)


@pytest.mark.parametrize("side", [0, 1])
def test_where_parallel_files_begin_to_be_shifted(side: int, tmp_path: Path) -> None:
    draw = random.Random(0)
    sizes = [draw.randrange(20, 90) for _ in range(20)]
    lines = ["a" * size for size in sizes], ["b" * round(1.15 * size + draw.gauss(0, size**0.5)) for size in sizes]
    paths = tmp_path / "x.en", tmp_path / "x.de"
    off = []
    for lost in range(20):
        for number, path in enumerate(paths):
            kept = [line for place, line in enumerate(lines[number]) if (number, place) != (side, lost)]
            path.write_text("\n".join(kept), "utf-8")
        with pytest.raises(HandloomError, match=r" '[ab]{20,60}'$| '[ab]{59}…'$") as caught:
            read(paths, TRANSLATION)
        found = re.search(r"x\.(?:en|de):(\d+)", str(caught.value))
        off.append(abs(int(found[1]) - 1 - lost) if found else 20)
    assert off[8:].count(0) >= 10 and max(off[13:]) <= 1 and sum(off) <= 9


@pytest.mark.parametrize("cut", [1, 2, 5, 10, 50, 150])
def test_a_parallel_file_that_is_cut_off(cut: int, tmp_path: Path) -> None:
    draw = random.Random(cut)
    sizes = [draw.randrange(20, 90) for _ in range(200)]
    lines = ["a" * size for size in sizes], ["b" * round(1.15 * size + draw.gauss(0, size**0.5)) for size in sizes]
    paths = tmp_path / "x.en", tmp_path / "x.de"
    for path, whole, end in zip(paths, lines, (200, 200 - cut), strict=True):
        path.write_text("\n".join(whole[:end]), "utf-8")
    with pytest.raises(HandloomError, match=rf"The first line without one: .*x\.en:{201 - cut} 'a+…?'$"):
        read(paths, TRANSLATION)


def test_lines_of_plain_text_without_targets(tmp_path: Path) -> None:
    lines = tmp_path / "x.en"
    lines.write_text("A dog, a cat\nA child, a man, a house\n", "utf-8")
    with pytest.raises(HandloomError, match=r"x\.en:2: 3 fields .* lines of plain text\? .*--targets \(--valid-t.*"):
        read(lines, TRANSLATION)
    table = tmp_path / "x.csv"
    table.write_text("source,target\na,b,c\n", "utf-8")
    with pytest.raises(HandloomError, match=r"double quotes\.$"):
        read(table, TRANSLATION)


# -- scores


def test_rouge_by_hand() -> None:
    assert words("Die Kühe, 3.5 kg! 你好") == ["die", "kühe", "3", "5", "kg", "你", "好"]
    assert rouge_l(["a", "b", "c", "d"], ["a", "x", "c", "d", "y"]) == pytest.approx(2 * 3 / 9)
    rouge = SCORERS[SUMMARIZATION]
    found = rouge(["the cat sat"], [["a dog", "the cat lay"]])
    assert found.metrics == pytest.approx({"rouge1": 2 / 3, "rouge2": 0.5, "rougeL": 2 / 3})
    assert rouge([""], [["a"]]).metrics == {"rouge1": 0, "rouge2": 0, "rougeL": 0}


texts = st.lists(st.sampled_from("abcd"), max_size=9)


@given(texts, texts)
def test_the_longest_common_subsequence_beside_a_slow_one(one: list[str], other: list[str]) -> None:
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    common = table[-1, -1]
    wanted = 2 * common / (len(one) + len(other)) if common else 0
    assert rouge_l(one, other) == pytest.approx(wanted)


@pytest.mark.parity
def test_scores_beside_the_published_scorers() -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    BLEU = pytest.importorskip("sacrebleu.metrics").BLEU

    written = ["the cat sat on the mat today", "a small dog barks", "nothing in common"]
    right = [["the cat lay on the mat"], ["the small dog barks", "a dog barks loudly"], ["something else"]]
    found = SCORERS[SUMMARIZATION](written, right)
    theirs = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    for name, value in found.metrics.items():
        best = [max(theirs.score(ref, text)[name].fmeasure for ref in refs)
                for text, refs in zip(written, right, strict=True)]  # fmt: skip
        assert value == pytest.approx(np.mean(best))
    ours = SCORERS[TRANSLATION](written, [refs[:1] for refs in right]).metrics
    assert ours["bleu"] * 100 == pytest.approx(BLEU().corpus_score(written, [[refs[0] for refs in right]]).score)
    assert SCORERS[TRANSLATION](["我 爱 北京"], [["我爱北京"]]).metrics["bleu"] > 0.99


phrases = st.lists(st.sampled_from(["the cat", "a", "dog sat", "on", ",", "3.5", "the", "mat", ""]), max_size=7)


@pytest.mark.parity
@given(st.lists(st.tuples(phrases, phrases, phrases), min_size=1, max_size=5))
def test_translations_beside_sacrebleu(rows: list[tuple[list[str], ...]]) -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    written, one, other = ([" ".join(row[i]) for row in rows] for i in range(3))
    sums, each = SCORERS[TRANSLATION].statistics(written, list(zip(one, other, strict=True)))
    whole = metrics.BLEU().corpus_score(written, [one, other]).score
    assert float(bleu(sums.sum(0))) * 100 == pytest.approx(whole, abs=1e-9)
    assert float(chrf(sums.sum(0))) * 100 == pytest.approx(metrics.CHRF().corpus_score(written, [one, other]).score)
    for text, refs, value in zip(written, zip(one, other, strict=True), each, strict=True):
        assert value * 100 == pytest.approx(metrics.CHRF().sentence_score(text, list(refs)).score)


# -- the whole way


def test_fit_learns_to_write(folder: Path, tmp_path: Path) -> None:
    heard: list[Any] = []
    model = Summarizer.from_pretrained(folder)
    before = model.predict("cat sees dog")
    run = tmp_path / "run"
    model.fit(sentences(700, 0), sentences(40, 1), sentences(30, 2), out=run, epochs=20, lr=6e-3, batch_size=16,
              listener=heard.append)  # fmt: skip
    assert model.scores is not None and model.scores["rougeL"] > 0.95 and model.scores["loss"] < 0.3
    assert model.scores.before is not None and model.scores.before["loss"] > 2
    assert all(one.guess != one.gold for one in model.scores.mistakes)
    assert set(model.baselines) == {"the first sentence", "the most central sentence"}
    after = model.predict(["cat sees dog", "small bird hears big fish"])
    assert after == ["Katze sieht Hund", "klein Vogel hört groß Fisch"] != before
    again = load(run)
    assert isinstance(again, Summarizer) and again.predict(["cat sees dog"]) == after[:1]
    assert again.predict("cat sees dog", beams=3) == after[0] == again.predict({"source": "cat sees dog"})
    for beams in (0, 2.5, True):
        with pytest.raises(UsageError, match=f"beams is a whole number from 1 on, not {beams!r}"):
            again.predict("cat sees dog", beams=beams)
        with pytest.raises(UsageError, match=f"beams is a whole number from 1 on, not {beams!r}"):
            again.evaluate(sentences(2, 2), beams=beams)
    assert again.evaluate(sentences(6, 2), beams=2)["rougeL"] > 0.9
    assert again.evaluate(sentences(30, 2))["rougeL"] == pytest.approx(model.scores["rougeL"])
    compared = compare(Summarizer.from_pretrained(folder), again, sentences(20, 2))
    assert (compared.metric, compared.verdict) == ("rouge1", "better")
    by_beams = compare(again, again, sentences(20, 2), beams=2).metrics["rougeL"].new
    assert by_beams == again.evaluate(sentences(20, 2), beams=2, before=False)["rougeL"]
    assert Writer.from_pretrained(run).generate("cat sees dog").text.strip() == after[0]


def test_long_texts_are_shortened_and_it_is_said(folder: Path) -> None:
    model = Translator.from_pretrained(folder)
    assert model.task is not None
    examples = read([("cat " * 60, "Katze " * 50), ("cat", "Katze")], TRANSLATION).examples
    encoded = model.task.encode(examples, model.tokenizer, 12, "windows")
    one = encoded.features[0]
    assert len(one.encoding) == 12 and one.encoding.ids[-1] == 1 and len(one) == 24
    assert encoded.notes == ("1 of 2 texts was longer than 12 tokens and has been shortened",
                             "1 of 2 targets was longer than 12 tokens and has been shortened")  # fmt: skip
    model.fit(sentences(8, 0), sentences(4, 1), epochs=1, max_length=12)
    assert len(model.predict(["cat " * 60, "cat"])) == 2
    assert model.notes == ("1 of 2 texts was longer than 12 tokens and has been shortened",
                           "2 of 2 texts broke off when 12 tokens were written")  # fmt: skip
    batch = model.task.pack(encoded.features)
    assert batch["labels"][-2:].tolist() == [Tokenizer.load(folder).token_id("Katze"), 1]
    assert batch["ids"][-2] == 0 and batch["source_starts"].tolist() == [0, 12, 14]


def test_a_prefix_comes_from_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "prefixed")
    config = json.loads((other / "config.json").read_text())
    config["task_specific_params"] = {"summarization": {"prefix": "short: "}}
    (other / "config.json").write_text(json.dumps(config))
    model = Summarizer.from_pretrained(other)
    assert model.task is not None and model.task.settings()["prefix"] == "short: "
    coded = model.task.encode(read([("cat", "Katze")], SUMMARIZATION).examples, model.tokenizer, 12, "windows")
    assert model.tokenizer.decode(coded.features[0].encoding.ids.tolist()) == "short : cat"


def test_what_cannot_write(tmp_path: Path, folder: Path) -> None:
    import tiny_bert

    with pytest.raises(HandloomError, match="needs an encoder–decoder or a decoder, and a bert is neither"):
        Translator.from_pretrained(tiny_bert.write(tmp_path / "bert"))
    with pytest.raises(UsageError, match=r"class_weights is for .* and relation-extraction, not translation"):
        Translator.from_pretrained(folder).fit(sentences(20, 0), class_weights="balanced")
    assert lead("One. Two.", 1) == "One."


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("train", 0), ("valid", 1)):
        for side, rows in enumerate(zip(*sentences(40, seed), strict=True)):
            (tmp_path / f"{name}.{side}").write_text("\n".join(rows), "utf-8")
    data = [word for name in ("train", "valid") for word in (f"--{name}", str(tmp_path / f"{name}.0"),
            "--targets" if name == "train" else "--valid-targets", str(tmp_path / f"{name}.1"))]  # fmt: skip
    run = str(tmp_path / "run")
    how = ["--model", str(folder), "--out", run, "--epochs", "1", "--max-length", "32"]
    assert main(["train", "summarization", *data, *how]) == 0
    beside = capsys.readouterr().out.split("Beside simple models")[1].split("Scores")[0]
    assert [line.split()[0] for line in beside.splitlines() if " – " in line] == ["rouge1", "rouge2", "rougeL"]
    assert main(["evaluate", run, "--data", data[1], "--targets", data[3], "--json"]) == 0
    assert {"rouge1", "rouge2", "rougeL", "loss", "perplexity"} <= json.loads(capsys.readouterr().out)["metrics"].keys()
    assert main(["compare", run, run, "--test", data[1], "--targets", data[3], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "no difference" and f"40 examples read from {data[1]}" in found["notes"]
    assert "40 of 40 texts broke off when 32 tokens were written" in found["notes"]
    assert main(["compare", run, run, "--test", data[1], "--targets", data[3], "--beams", "0"]) == 2
    assert "--beams" in capsys.readouterr().err
    assert main(["data", "check", data[1], "--targets", data[3], "--task", "summarization", "--json"]) == 0
    assert capsys.readouterr().out.startswith("{")
    assert main(["predict", run, "cat sees dog", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"text", "written", "cut"}
    [found] = load(run).predict_dicts(["cat sees dog"], beams=3)
    assert main(["predict", run, "cat sees dog", "--json", "--beams", "3"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    measured = load(run).evaluate((Path(data[1]), Path(data[3])), beams=2, before=False)
    assert main(["evaluate", run, "--data", data[1], "--targets", data[3], "--json", "--beams", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == measured.metrics
    assert main(["train", "summarization", "--train", data[1], "--test-targets", data[3], "--out", run]) == 2
    capsys.readouterr()
    assert main(["train", "translation", *data, "--out", str(tmp_path / "other")]) == 2
    assert "translation has no usual model: name one that writes with --model" in capsys.readouterr().err


def test_smoothing_is_for_training_alone(folder: Path) -> None:
    found = []
    for smoothing in (0.0, 0.5):
        model = Translator.from_pretrained(folder)
        model.fit(sentences(8, 0), sentences(4, 1), epochs=1, lr=1e-12, label_smoothing=smoothing, before=False)
        found.append(model.scores.metrics["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)  # the weights are the same, so the loss is


def test_what_reads_is_not_made_of_what_writes(folder: Path) -> None:
    rows = [("cat " * i, "dog " * i) for i in range(1, 41)]
    with pytest.raises(HandloomError, match="sentence-similarity needs an encoder, and this t5 writes texts"):
        SentenceMatcher.from_pretrained(folder).fit(rows, epochs=1)
