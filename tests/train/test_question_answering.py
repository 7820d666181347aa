from __future__ import annotations

import itertools
import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from hypothesis import given, settings
from hypothesis import strategies as st

import handloom.tensor as ht
from handloom.cli.predict import asked as asked_of
from handloom.cli.predict import shown
from handloom.data.examples import QuestionExample
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.tasks import answers
from handloom.tasks.question_answering import Answer, QuestionAnswering, best_threshold
from handloom.tasks.task import Encoded
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.batches import capacity
from handloom.train.comparing import compare
from handloom.train.engine import Engine
from handloom.train.estimators import QuestionAnswerer, load
from handloom.train.optimisers import optimiser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.write(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


def example(context: str, answer: str | None, question: str = "works in") -> QuestionExample:
    places = () if answer is None else ((context.index(answer), context.index(answer) + len(answer)),)
    return QuestionExample(question, context, places)


# -- tokens and windows


def pointed(found: Encoded) -> list[str]:
    """What of the context the label of each window points at; "-" where at the first token."""
    shown = []
    for feature in found.features:
        assert feature.label is not None
        first, last = feature.label.tolist()
        begin, end = feature.encoding.offsets[first, 0], feature.encoding.offsets[last, 1]
        shown.append(f"{begin}:{end}" if first else "-")
    return shown


@pytest.mark.parametrize("answer", ["anna", "rome", "new york", "the", "anna works in new york . the film in rome"])
def test_labels_are_the_tokens_of_the_answer(answer: str, tokenizer: Tokenizer) -> None:
    context = "anna works in new york . the film in rome"
    one = example(context, answer)
    assert one.answers is not None
    [(start, end)] = one.answers
    found = QuestionAnswering().encode([one], tokenizer, 64, "windows")
    assert pointed(found) == [f"{start}:{end}"] and not found.notes


def test_a_long_text_is_read_in_windows_with_the_whole_question(tokenizer: Tokenizer) -> None:
    words = ["the"] * 20 + ["marie", "curie"] + ["the"] * 20
    one = example(" ".join(words), "marie curie")
    found = QuestionAnswering().encode([one], tokenizer, 17, "windows")  # 12 tokens of context, 3 in common
    assert len(found.features) == 5
    assert found.notes == ("1 of 1 text is longer than the model and is read in 5 windows",)
    for feature in found.features:
        assert len(feature) == 17 and (feature.encoding.sequence == 0).sum() == 2
    labels = pointed(found)
    assert labels.count("80:91") == 1 and labels.count("-") == 4
    # at the border of a window: it is pointed at only where all of it is
    for before in range(30):
        text = " ".join(["the"] * before + ["marie", "curie"] + ["the"] * (38 - before))
        found = QuestionAnswering().encode([example(text, "marie curie")], tokenizer, 17, "windows")
        for feature, label in zip(found.features, pointed(found), strict=True):
            own = feature.kept[feature.encoding.sequence == 1] - 4  # behind [CLS], two words and [SEP]
            assert (label != "-") == (before in own and before + 1 in own)
        assert any(label != "-" for label in pointed(found))


def test_what_cannot_be_learned_or_predicted_is_said(tokenizer: Tokenizer) -> None:
    long = " ".join(["the"] * 40)
    found = QuestionAnswering(3).encode([example(long, long), example("the film in rome", "the film in rome")],
                                        tokenizer, 17, "windows")  # fmt: skip
    assert "1 of 2 answers is in no window as a whole, and cannot be learned: question 0" in found.notes
    assert "1 of 2 answers is longer than 3 tokens and cannot be predicted: question 1" in found.notes


def test_questions_that_are_too_long_and_empty_texts(tokenizer: Tokenizer) -> None:
    task, many = QuestionAnswering(), " ".join(["film"] * 30)
    assert len(task.encode([example("the", None, many)], tokenizer, 34, "windows").features) == 1  # it fits
    with pytest.raises(HandloomError, match=r"question 0: the question leaves no room for its text.* 33 of the 34"):
        task.encode([example("the film", None, many)], tokenizer, 34, "windows")
    with pytest.raises(HandloomError, match="an empty context"):
        task.encode([QuestionExample("works", " ")], tokenizer, 34, "windows")
    with pytest.raises(HandloomError, match="an empty question"):
        task.encode([QuestionExample("", "works")], tokenizer, 34, "windows")
    with pytest.raises(UsageError, match="at least one token"):
        QuestionAnswering(0)


# -- the loss


@pytest.mark.parametrize("compiled", [False, True])
def test_the_loss_is_a_softmax_over_each_sequence(compiled: bool, tokenizer: Tokenizer) -> None:
    task = QuestionAnswering()
    given_ = [example("anna works in rome", "rome"), example("bob", "bob"), example("the film was in rome", None)]
    unlabelled = QuestionExample("works", "in rome")
    batch = task.pack(task.encode([*given_, unlabelled], tokenizer, 64, "windows").features)
    rng = np.random.default_rng(0)
    logits = (5 * rng.standard_normal((len(batch["ids"]), 2))).astype(np.float32)
    parts = {name: batch[name] for name in ("starts", "labels")}

    def mean(x: Any, batch: Any) -> Any:
        loss = lambda x: (lambda pair: pair[0] / pair[1])(task.loss(x, batch))  # noqa: E731
        return ht.value_and_grad(loss)(x)

    if compiled:
        mean = ht.compile(mean, symbols={"x": ("tokens", 2), "batch": {k: task.symbols()[k] for k in parts}},
                          capacity={"tokens": 64, "sequences": 8})  # fmt: skip
    value, gradient = mean(ht.tensor(logits), {name: ht.tensor(array) for name, array in parts.items()})
    total, expected = 0.0, np.zeros_like(logits, np.float64)
    for number, (begin, end) in enumerate(itertools.pairwise(batch["starts"].tolist())):
        for side in (0, 1):
            label = int(batch["labels"][number, side])
            if label < 0:
                assert number == 3
                continue
            assert begin <= label < end
            shares = np.exp(logits[begin:end, side].astype(np.float64))
            shares /= shares.sum()
            total -= math.log(shares[label - begin]) / 6
            expected[begin:end, side] += shares / 6
            expected[label, side] -= 1 / 6
    assert float(value.numpy()) == pytest.approx(total, rel=1e-5)
    np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-6)


# -- decoding


def plainly(encoded: Encoded, logits: Sequence[Any], longest: int) -> dict[tuple[int, int], float]:
    """For every allowed place the greatest sum of two logits, by four loops."""
    best: dict[tuple[int, int], float] = {}
    for feature, rows in zip(encoded.features, logits, strict=True):
        coded = feature.encoding
        for i in range(len(coded)):
            for j in range(i, min(i + longest, len(coded))):
                if coded.sequence[i] == 1 == coded.sequence[j] and feature.kept[j] - feature.kept[i] == j - i:
                    place = int(coded.offsets[i, 0]), int(coded.offsets[j, 1])
                    best[place] = max(best.get(place, -np.inf), float(rows[i, 0]) + float(rows[j, 1]))
    return best


@given(st.integers(1, 45), st.integers(1, 6), st.sampled_from(["windows", "head", "head-tail"]), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_decoding_finds_the_best_places(words: int, longest: int, long: str, seed: int) -> None:
    tokenizer = Tokenizer.load(_FOLDER[0])
    rng = np.random.default_rng(seed)
    context = " ".join(rng.choice(["é", "rome", "北", "film", "🚲", "annas", "x\u0301"], words))
    one = QuestionExample("works in", context)
    task = QuestionAnswering(longest)
    encoded = task.encode([one], tokenizer, 17, long)
    logits = [rng.standard_normal((len(f), 2)).astype(np.float32) for f in encoded.features]
    best = plainly(encoded, logits, longest)
    [said] = task.decode([one], encoded, logits)
    ranked = sorted(best.items(), key=lambda item: -item[1])[:5]
    assert [(a.start, a.end) for a in (said, *said.others)] == [place for place, _ in ranked]
    assert said.logit == pytest.approx(ranked[0][1])
    mass = sum(math.exp(value) for value in best.values())
    for answer, (_, value) in zip((said, *said.others), ranked, strict=True):
        assert answer.score == pytest.approx(math.exp(value) / mass)
        assert answer.text == context[answer.start : answer.end] and answer.text.strip() == answer.text
    nothing = min(float(rows[0].sum()) for rows in logits)
    assert said.margin == pytest.approx(nothing - said.logit)
    [silent] = QuestionAnswering(longest, said.margin - 1e-6).decode([one], encoded, logits)
    assert not silent and silent.text == "" and silent.others[0].text == said.text
    [spoken] = QuestionAnswering(longest, said.margin + 1e-6).decode([one], encoded, logits)
    assert spoken.text == said.text and spoken.score + silent.score < 1 + 1e-9


_FOLDER: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def _known(folder: Path) -> None:
    _FOLDER[:] = [folder]


def test_a_text_of_one_token_and_one_that_no_token_is_left_of(tokenizer: Tokenizer) -> None:
    task = QuestionAnswering()
    examples = [QuestionExample("works", "rome"), QuestionExample("works", "\u0000\u200b")]
    encoded = task.encode(examples, tokenizer, 64, "windows")
    one, none = task.decode(examples, encoded, [np.zeros((len(f), 2), np.float32) for f in encoded.features])
    assert (one.text, one.start, one.end, one.score, one.others) == ("rome", 0, 4, 1.0, ())
    assert none == Answer("", 0, 0, 0.0) and not none and one
    assert one.to_dict() == {"answer": "rome", "start": 0, "end": 4, "score": 1.0, "others": []}


# -- scores, beside a plain reading of the official scripts


def squad_words(text: str) -> list[str]:
    kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return [word for word in re.sub(r"\b(a|an|the)\b", " ", kept).split()]


def squad_f1(gold: str, guess: str) -> float:
    true, found = squad_words(gold), squad_words(guess)
    if not true or not found:
        return float(true == found)
    same = sum((Counter(true) & Counter(found)).values())
    if not same:
        return 0.0
    precision, recall = same / len(found), same / len(true)
    return 2 * precision * recall / (precision + recall)


WORDS = ["the", "A", "cat", "Cat.", "dog,", "-", "an", "U.S.", "é"]
phrases = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.lists(phrases, max_size=3), phrases), min_size=1, max_size=12))
def test_the_official_scores(rows: list[tuple[list[str], str]]) -> None:
    examples, said = [], []
    for golds, guess in rows:
        context = " | ".join(golds) or "cat"
        ends = list(itertools.accumulate((len(gold) + 3 for gold in golds), initial=0))
        places = tuple((end, end + len(gold)) for end, gold in zip(ends, golds, strict=False))
        examples.append(QuestionExample("?", context, places))
        said.append(Answer(guess, 0, len(guess), 0.5))
    scores = QuestionAnswering().score(examples, said)
    exacts, f1s = [], []
    for golds, guess in rows:
        kept = [gold for gold in golds if squad_words(gold)] or [""]
        exacts.append(max(squad_words(gold) == squad_words(guess) for gold in kept))
        f1s.append(max(squad_f1(gold, guess) for gold in kept))
    assert scores["exact_match"] == pytest.approx(np.mean(exacts))
    assert scores["f1"] == pytest.approx(np.mean(f1s), abs=1e-6)
    silent = [not golds for golds, _ in rows]
    if any(silent):
        right = [same for same, none in zip(exacts, silent, strict=True) if none]
        assert scores["unanswerable_accuracy"] == pytest.approx(np.mean(right))
        if not all(silent):
            mean = np.mean([f for f, s in zip(f1s, silent, strict=True) if not s])
            assert scores["answered_f1"] == pytest.approx(mean, abs=1e-6)
    else:
        assert set(scores.metrics) == {"exact_match", "f1"}
    low, high = scores.intervals["f1"]
    assert 0 <= low <= scores["f1"] + 1e-9 and scores["f1"] <= high + 1e-9 <= 1 + 1e-6


def run_in_common(one: list[str], other: list[str]) -> int:
    pieces = [one[i:j] for i in range(len(one)) for j in range(i + 1, len(one) + 1)]
    inside = [other[i:j] for i in range(len(other)) for j in range(i + 1, len(other) + 1)]
    return max((len(piece) for piece in pieces if piece in inside), default=0)


@settings(max_examples=40, deadline=None)
@given(st.text("北京大学，。A1 ", max_size=8), st.text("北京大学，。A1 ", max_size=8))
def test_chinese_goes_by_the_character(gold: str, guess: str) -> None:
    def cut(text: str) -> list[str]:
        return re.findall(r"[\u4e00-\u9fa5]|[a-z0-9]+", "".join(c for c in text.lower() if c not in "，。"))

    true, found = cut(gold), cut(guess)
    same = run_in_common(true, found)
    wanted = 2 * same / (len(true) + len(found)) if true and found else float(true == found)
    assert answers.f1(gold, guess, "characters") == pytest.approx(wanted)


def test_which_unit_a_text_asks_for() -> None:
    assert answers.unit_of(["北京是中国的首都 (Beijing)。"]) == "characters"
    assert answers.unit_of(["The capital is 北京.", "Это город."]) == "words"
    assert answers.best(["北京。"], "北京", "characters") == (True, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2), st.booleans()), min_size=1, max_size=12))
def test_the_best_threshold(rows: list[tuple[int, int, bool]]) -> None:
    margins, answered, silent = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    threshold, found = best_threshold(margins, answered, silent)
    mean = lambda at: float(np.where(margins > at, silent, answered).mean())  # noqa: E731
    assert found == pytest.approx(mean(threshold))
    assert found == pytest.approx(max(mean(at / 2) for at in range(-9, 9)))


# -- the whole way


def asked(count: int, seed: int, silent: bool = True) -> list[tuple[str, str, Any]]:
    """Who, and where; "meets" is never answered."""
    rng = np.random.default_rng(seed)
    found: list[tuple[str, str, Any]] = []
    for _ in range(count):
        name, place = str(rng.choice(tiny_bert.NAMES)), str(rng.choice(tiny_bert.PLACES))
        filler = " ".join(rng.choice(["the", "film", "was", "a", "very", "book"], int(rng.integers(1, 6))))
        verb = str(rng.choice(["lives", "works"]))
        kind = int(rng.integers(3 if silent else 2))
        answer: Any = (name, place, [])[kind]
        found.append((("is", "in", "meets")[kind], f"{filler} . {name} {verb} in {place} . {filler}", answer))
    return found


def test_fit_learns_to_answer_and_to_be_silent(folder: Path, tmp_path: Path) -> None:
    heard: list[Any] = []
    answerer = QuestionAnswerer.from_pretrained(folder)
    run = tmp_path / "run"
    answerer.fit(asked(300, 0), asked(60, 1), asked(80, 2), out=run, epochs=6, lr=3e-3, listener=heard.append)
    assert answerer.scores is not None and answerer.scores["f1"] > 0.9
    assert answerer.scores["unanswerable_accuracy"] > 0.9
    assert set(answerer.baselines) == {"most similar sentence"}
    assert any("no answer is given where it is ahead by more than" in (p.text or "") for p in heard)
    again = load(run)
    assert isinstance(again, QuestionAnswerer) and isinstance(again.task, QuestionAnswering)
    assert isinstance(answerer.task, QuestionAnswering) and again.task.threshold == answerer.task.threshold
    context = "the film . marie curie works in new york . the film"
    who, nothing = again.predict([(kind, context) for kind in ("is", "meets")])
    assert (who.text, nothing.text) == ("marie curie", "")
    assert who == answerer.predict(("is", context)) and context[who.start : who.end] == who.text
    for top, others in ((1, ()), (3, who.others[:2])):
        assert again.predict(("is", context), top=top) == replace(who, others=others)
    assert len(who.others) == 4 and len(again.predict([("is", context)], top=9)[0].others) == 8
    with pytest.raises(UsageError, match="top is 0; it must be a whole number"):
        again.predict(("is", context), top=0)
    long = " ".join(["a very book ."] * 30 + ["bob works in rome ."] + ["a very book ."] * 20)
    found = again.predict(("in", long))
    assert isinstance(found, Answer) and long[found.start : found.end] == found.text
    with pytest.raises(UsageError, match="a question is asked of a text"):
        again.predict("is")
    assert again.evaluate(asked(80, 2))["f1"] == pytest.approx(answerer.scores["f1"])
    compared = compare(again, answerer, asked(20, 2))
    assert compared.metric == "f1" and compared.verdict == "no difference" and "answered_f1" in compared.metrics

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text(f"{'the film ' * 9}.\n\n{context}", "utf-8")
    [row] = asked_of(again, ["is"], tmp_path / "docs" / "a.txt", {})
    assert row["context"][row["start"] : row["end"]] == row["answer"] and row["question"] == "is"
    [row] = asked_of(again, ["is"], tmp_path / "docs" / "a.txt", {"top": 2})
    [said, _, other] = [line.plain for line in shown(row, 2)]
    assert said.startswith("marie curie") and other.endswith(row["others"][0]["text"]) and len(row["others"]) == 1
    (tmp_path / "docs" / "picture.png").write_bytes(b"PNG")
    rows = asked_of(again, ["is works", "zzz"], tmp_path / "docs", {"top": 1})
    assert len(rows) == 2
    assert again.notes[-1].endswith("hidden: 1 (picture.png)")
    whole = (tmp_path / "docs" / "a.txt").read_text("utf-8")
    assert whole[rows[0]["start"] : rows[0]["end"]] == rows[0]["answer"] and rows[-1]["answer"] == ""
    assert rows[0]["document"].endswith("a.txt")
    lines = [line.plain for row in rows for line in shown(row)]
    assert lines[0].startswith("marie curie ") and lines[-1] == "no answer 0.000  zzz"
    with pytest.raises(UsageError, match="--context needs questions"):
        asked_of(again, None, tmp_path / "docs", {})

    book = again.search([f"{name} works in {place} ." for name in tiny_bert.NAMES for place in ("paris", "rome")])
    assert len(book) == 6 and book.ask("is zzz") == [] and book.ask("meets") == []
    best = book.ask("in paris", count=2)
    assert best and all(one.paragraph.text[one.answer.start : one.answer.end] == one.answer.text for one in best)


@pytest.mark.parity
def test_what_is_saved_opens_in_transformers(folder: Path, tmp_path: Path) -> None:
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    answerer = QuestionAnswerer.from_pretrained(folder)
    answerer.fit(asked(40, 0, silent=False), epochs=1, listener=lambda progress: None)
    answerer.save(tmp_path)
    model, said = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(said[f"{kind}_keys"] for kind in ("missing", "unexpected", "mismatched"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    question, context = "in", "bob works in rome"
    with torch.no_grad():
        theirs = model.eval()(**tokenizer(question, context, return_tensors="pt"))
    answer = answerer.predict((question, context))
    assert isinstance(answer, Answer)
    both = theirs.start_logits[0, 3:7, None] + theirs.end_logits[0, None, 3:7]
    assert answer.logit == pytest.approx(float(torch.triu(both, 0).masked_fill(torch.tril(both, -1) != 0, -1e9).max()),
                                         abs=1e-4)  # fmt: skip
    (tmp_path / "handloom.json").unlink()  # a folder as others make them
    again = load(tmp_path)
    assert isinstance(again, QuestionAnswerer) and again.predict((question, context)) == answer


@pytest.mark.parity
def test_steps_are_those_of_torch(folder: Path) -> None:
    """Without dropout, from the same head; transformers' padding is kept out of its softmax."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    task = QuestionAnswering()
    model, _, _ = modeling.build(folder, task, 0, 0.0)
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(
        folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    ).train()
    with torch.no_grad():
        for name, value in model.parameters().items():
            theirs.get_parameter(name).copy_(torch.from_numpy(value.numpy().copy()))
    examples = read(asked(48, 0, silent=False), "question-answering").examples
    features = task.encode(examples, Tokenizer.load(folder), 64, "windows").features
    assert len({len(one) for one in features}) > 1
    groups = [features[at : at + 8] for at in range(0, 48, 8)]
    room = capacity(max(sum(map(len, group)) for group in groups), 8)
    engine = Engine(model, task, optimiser("adamw", 0.01), clip=1.0, capacity=room, precision="f32", owns=True)
    decayed = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=0.01)
    for number, group in enumerate(groups):
        ours = engine.step([group], number, 1e-3)
        longest = max(map(len, group))
        padded = {name: torch.tensor(np.stack([np.pad(row, (0, longest - len(row))) for row in rows])).long()
                  for name, rows in (("input_ids", [one.encoding.ids for one in group]),
                                     ("token_type_ids", [one.encoding.types for one in group]),
                                     ("attention_mask", [np.ones(len(one)) for one in group]))}  # fmt: skip
        out, beyond = theirs(**padded), padded["attention_mask"] == 0
        places = torch.tensor(np.stack([np.asarray(one.label) for one in group])).long()
        halves = [torch.nn.functional.cross_entropy(side.masked_fill(beyond, -1e30), places[:, at])
                  for at, side in enumerate((out.start_logits, out.end_logits))]  # fmt: skip
        loss = sum(halves) / 2
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        decayed.step()
        decayed.zero_grad()
        assert ours.loss / ours.weight == pytest.approx(float(loss.detach()), rel=2e-5)
        assert ours.norm == pytest.approx(float(norm), rel=2e-4)
