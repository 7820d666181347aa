"""One of several answers: a softmax over as many choices as a question has, beside transformers, from fit to load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_rewriters
import tiny_bert

import handloom as hl
import handloom.tensor as ht
from handloom.data.examples import ChoiceExample
from handloom.errors import UsageError
from handloom.tasks.multiple_choice import Choice, MultipleChoice, choice_scores, sides
from handloom.text.tokenizer import Tokenizer
from handloom.train import modeling
from handloom.train.comparing import compare
from handloom.train.engine import Engine
from handloom.train.estimators import MultipleChooser, load

FIT: dict[str, Any] = {"lr": 3e-3, "listener": lambda progress: None}
GIVEN = [
    ChoiceExample("anna lives in", ("rome", "the book"), 0),
    ChoiceExample("bob meets", ("marie curie", "paris", "a film", "anna"), 3, "the film was good"),
    ChoiceExample("", ("a book", "new york", "is"), None, "anna works in"),
]


def questions(count: int, seed: int) -> list[tuple[str, list[str], int]]:
    """Which of two to four words is a good one."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        choices = [str(word) for word in rng.permutation(tiny_bert.BAD)[: int(rng.integers(1, 4))]]
        answer = int(rng.integers(len(choices) + 1))
        choices.insert(answer, str(rng.choice(tiny_bert.GOOD)))
        found.append((f"the {rng.choice(['film', 'book'])} was", choices, answer))
    return found


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[MultipleChooser, Path]:
    out = tmp_path_factory.mktemp("runs") / "chosen"
    chooser = MultipleChooser.from_pretrained(tiny, precision="f32")
    chooser.fit(questions(160, 0), questions(40, 1), questions(60, 2), epochs=3, out=out, **FIT)
    return chooser, out


def test_sequences_and_labels(tiny: Path) -> None:
    assert sides(GIVEN[1])[0] == ("the film was good", "bob meets marie curie")
    assert sides(GIVEN[2])[1] == ("anna works in", "new york")
    task, tokenizer = MultipleChoice(), Tokenizer.load(tiny)
    encoded = task.encode(GIVEN, tokenizer, 64, "windows")
    batch = task.pack(encoded.features)
    assert batch["groups"].tolist() == [0, 2, 6, 9] and batch["labels"].tolist() == [0, 5, -100]
    assert len(batch["starts"]) == 10 and batch["starts"][-1] == len(batch["ids"]) == encoded.tokens
    short = task.encode([ChoiceExample("", ("rome", "a very bad book"), 0, "the " * 60)], tokenizer, 20, "windows")
    assert "1 of 1 question is longer than 20 tokens" in short.notes[0]
    features: list[Any] = short.features
    spelt = [[tokenizer.token(int(i)) for i in coded.ids] for coded in features[0].encodings]
    assert [len(one) for one in spelt] == [20, 20] and spelt[1][-5:] == ["a", "very", "bad", "book", "[SEP]"]


@pytest.mark.parity
def test_loss_and_gradients_beside_transformers(tiny: Path) -> None:
    """BertForMultipleChoice has the tensors of our head, and pads; questions with as many choices go in together."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    task = MultipleChoice()
    given = [ChoiceExample("anna lives in", ("rome", "the book"), 0), ChoiceExample("bob meets", ("paris", "anna"), 1)]
    encoded = task.encode(given, Tokenizer.load(tiny), 64, "head")
    model, config, _ = modeling.build(tiny, task, seed=3, dropout=0.0)
    batch = {name: ht.tensor(value) for name, value in task.pack(encoded.features).items()}

    def loss_of(params: Any) -> tuple[Any, Any]:
        with model.bound(params):
            return task.total(model, batch)

    (total, weight), grads = hl.value_and_grad(loss_of, has_aux=True)(model.parameters())
    theirs = transformers.BertForMultipleChoice(transformers.BertConfig(**config.source))
    weights = {name: torch.from_numpy(np.array(value.numpy())) for name, value in model.parameters().items()}
    missing, unexpected = theirs.eval().load_state_dict(weights, strict=False)
    assert not unexpected and not [name for name in missing if "position_ids" not in name]
    features: list[Any] = encoded.features
    longest = max(len(coded) for feature in features for coded in feature.encodings)
    ids, mask, types = (torch.zeros(2, 2, longest, dtype=torch.long) for _ in range(3))
    for row, feature in enumerate(features):
        for column, coded in enumerate(feature.encodings):
            ids[row, column, : len(coded)] = torch.from_numpy(coded.ids.astype(np.int64))
            types[row, column, : len(coded)] = torch.from_numpy(coded.types.astype(np.int64))
            mask[row, column, : len(coded)] = 1
    wanted = theirs(ids, attention_mask=mask, token_type_ids=types, labels=torch.tensor([0, 1])).loss
    wanted.backward()
    assert float(total.numpy()) / float(weight.numpy()) == pytest.approx(wanted.item(), rel=1e-5)
    for name, value in theirs.named_parameters():
        ours = grads[name].numpy() / float(weight.numpy())
        np.testing.assert_allclose(ours, value.grad.numpy(), atol=1e-5, err_msg=name)


def test_a_question_has_the_bits_that_it_has_among_others(tiny: Path) -> None:
    task = MultipleChoice()
    encoded = task.encode(GIVEN, Tokenizer.load(tiny), 64, "head")
    engine = Engine(modeling.build(tiny, task, seed=0)[0], task)
    together, loss = engine.logits(encoded)
    losses = []
    for example, rows in zip(GIVEN, together, strict=True):
        alone, own = engine.logits(task.encode([example], Tokenizer.load(tiny), 64, "head"))
        np.testing.assert_array_equal(alone[0], rows)
        losses.append(own)
        logits = rows.reshape(-1).astype(np.float64)
        if example.answer is not None:
            assert own == pytest.approx(np.log(np.exp(logits).sum()) - logits[example.answer], rel=1e-5)
    assert losses[2] == 0 and loss == pytest.approx(np.mean(losses[:2]), rel=1e-5)


def test_choosing_is_learnt_and_kept(trained: tuple[MultipleChooser, Path], tiny: Path) -> None:
    chooser, run = trained
    assert chooser.scores is not None and chooser.scores["accuracy"] > 0.9
    assert set(chooser.baselines) == {"longest choice", "most similar choice"}
    again = load(run)
    assert isinstance(again, MultipleChooser)
    asked = [(question, choices) for question, choices, _ in questions(60, 2)]
    said = chooser.predict(asked)
    assert said == again.predict(asked) and chooser.predict(asked[0]) == said[0]
    assert chooser.predict(dict(zip(("question", "choices"), asked[0], strict=True))) == said[0]
    assert again.evaluate(questions(60, 2), before=False)["accuracy"] == chooser.scores["accuracy"]
    assert chooser.predict_dicts(asked[:1])[0]["answer"] == said[0].text == asked[0][1][said[0].index]
    assert json.loads((run / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]
    untrained = MultipleChooser.from_pretrained(tiny, precision="f32").fit(questions(8, 9), questions(8, 9), epochs=1,
                                                                          **{**FIT, "lr": 1e-9})  # fmt: skip
    found = compare(untrained, chooser, questions(60, 4))
    assert found.verdict == "better" and found.fixed
    with pytest.raises(UsageError, match="a question has choices"):
        chooser.predict("a")
    with pytest.raises(UsageError, match=r"class_weights is for .*, not multiple-choice"):
        MultipleChooser.from_pretrained(tiny).fit(questions(8, 9), questions(8, 9), class_weights="balanced")


def test_accuracy_and_mistakes() -> None:
    given = [ChoiceExample("q", ("a", "b"), 0), ChoiceExample("p", ("a", "b"), 1)]
    said = [Choice(0, "a", 0.9, (0.9, 0.1)), Choice(0, "a", 0.7, (0.7, 0.3))]
    scores = choice_scores(given, said)
    assert scores["accuracy"] == 0.5 and scores.intervals["accuracy"] == (0.0, 1.0)
    [mistake] = scores.mistakes
    assert (mistake.text, mistake.gold, mistake.guess, mistake.score) == ("p", "b", "a", 0.7)


def test_an_encoder_decoder_chooses_what_it_would_write(tmp_path: Path) -> None:
    chooser = hl.LikelihoodChooser.from_pretrained(test_rewriters.write(tmp_path / "t5"), by="sum")
    given = [ChoiceExample("cat sees", ("Katze sieht", "Hund")), ChoiceExample("fish", ("rot", "Fisch mag Hund"))]
    for example, own in zip(given, chooser.log_probabilities(given), strict=True):
        for choice, tokens in zip(example.choices, own, strict=True):
            whole = chooser.generator.score(choice, source=example.question)
            assert tokens == pytest.approx([one.log_probability for one in whole[: len(choice.split())]], abs=1e-5)
