"""Decoders that are fine-tuned on conversations, prompts and texts, and to summarize; saved, and taken up again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workplace import tiny_bert, tiny_llama

import handloom as hl
import handloom.tensor as ht
from handloom.cli.main import main
from handloom.data.examples import GenerationExample
from handloom.data.readers import read
from handloom.errors import HandloomError, UsageError
from handloom.models.encoder import Headed
from handloom.tasks.text_generation import TextGeneration
from handloom.text.chat import PLAIN
from handloom.train.comparing import compare
from handloom.train.estimators import load, resume
from handloom.train.extractive import central, centrality, lead, usual_count
from handloom.train.generators import TextGenerator
from handloom.train.loop import Loop
from handloom.train.progress import silent
from handloom.train.rewriters import Summarizer, Translator

PAIRS = [("the cat", "sat on the mat"), ("the dog", "lay by the door"), ("a mat", "the cat"), ("a door", "the dog")]
HOW: dict[str, Any] = {"epochs": 12, "lr": 5e-3, "batch_size": 8, "listener": silent}


def chats(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(PAIRS), (count, 2)).tolist()
    return [{"messages": [{"role": role, "content": text} for pick in row for role, text in
             zip(("user", "assistant"), PAIRS[pick], strict=True)]} for row in picks]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama without a chat template."""
    found = Path(tiny_llama.write(tmp_path_factory.mktemp("models") / "tiny"))
    about = json.loads((found / "tokenizer_config.json").read_text())
    del about["chat_template"]
    (found / "tokenizer_config.json").write_text(json.dumps(about))
    return found


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That model, having learnt some conversations, a prompt and a text."""
    place = tmp_path_factory.mktemp("runs")
    data = place / "chats.jsonl"
    rows = [*chats(60), *[{"prompt": "Once upon", "completion": " a time"}] * 8, {"text": "Once upon a time"}]
    data.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    notes: list[str] = []
    model = TextGenerator.from_pretrained(folder)
    model.fit(data, chats(8), [*chats(6), rows[60]], out=place / "run",
              **{**HOW, "listener": lambda event: notes.append(event.text)})  # fmt: skip
    assert any("no chat template: turns are written plainly" in note for note in notes)
    assert model.scores is not None and model.scores["exact_match"] > 0.9 and model.scores["rougeL"] > 0.9
    assert model.scores["perplexity"] < 1.5 and model.scores.before is not None
    assert model.scores.before["perplexity"] > 20
    return place / "run"


def test_what_was_learnt_is_there_again(run: Path, folder: Path) -> None:
    model = load(run)
    assert isinstance(model, TextGenerator) and isinstance(model, hl.TextGenerator)
    assert [model.predict(asked) for asked, _ in PAIRS] == [said for _, said in PAIRS]
    told = [{"role": "user", "content": PAIRS[1][0]}]
    assert model.predict(told) == PAIRS[1][1] == model.generate(told).text
    assert model.predict(told[0]) == model.predict({"text": PAIRS[1][0]}) == PAIRS[1][1]
    assert model.predict_dicts(told) == model.predict_dicts(told[0])
    assert [one.text for one in model.predict_raw(told)] == [PAIRS[1][1]]
    assert model.generate("Once upon").text == " a time"
    assert "".join(model.stream(told)) == PAIRS[1][1]
    assert model.predict([told, chats(1)[0]])[0] == PAIRS[1][1] and model.predict([]) == []
    assert model.scores is not None
    assert model.evaluate(chats(6), before=False)["exact_match"] == 1.0
    assert (run / "chat_template.jinja").read_text() == PLAIN
    compared = compare(TextGenerator.from_pretrained(folder).fit(chats(20), epochs=1, listener=silent), model, chats(6))
    assert (compared.metric, compared.verdict) == ("exact_match", "better")
    further = model.fit(chats(20), epochs=1, listener=silent)
    assert further.predict("the dog") == PAIRS[1][1]


def test_what_is_not_read_of_a_prompt_is_told(run: Path) -> None:
    model = load(run)
    assert isinstance(model, TextGenerator)
    model.predict("the cat")
    assert model.notes == ()
    context = model._asked.decoder.context
    assert context is not None
    end = f"so that {context} tokens hold prompt and answer"
    model.predict(["the cat " * context, "the dog"])
    assert model.notes == (f"prompts read from their end: 1 of 2, {end}",)
    roles = ("user", "assistant")
    turns = [{"role": role, "content": text} for pair in PAIRS for role, text in zip(roles, pair, strict=True)]
    assert model.predict([*turns * context, {"role": "user", "content": PAIRS[1][0]}]) == PAIRS[1][1]
    assert model.notes == (f"conversations read without their oldest turns: 1 of 1, {end}",)


@pytest.mark.parametrize("most", [1, 100])
def test_no_more_of_a_conversation_is_left_out_than_must(run: Path, most: int) -> None:
    model = load(run)
    assert isinstance(model, TextGenerator)
    context = model._asked.decoder.context
    assert context is not None
    told = [{"role": "system", "content": "a mat"}, *chats(1)[0]["messages"] * (context // 10)]
    asked = {"role": "user", "content": PAIRS[1][0]}
    talks = [[told[0], *told[1 : 1 + 2 * count], asked] for count in (0, 1, 2, 3, *range(4, context // 5, 7))]
    examples = model.read(talks, labelled=False).examples
    found = model._prompts(model._whole, examples, most)
    room, shortened = context - min(most, context // 2), 0
    for talk, ids in zip(talks, found, strict=True):
        while len(model.encode(talk)) > room and len(talk) > 2:
            del talk[1:3]
            shortened = max(shortened, 1)
        assert ids.tolist() == model.encode(talk).tolist()[-room:]
    assert shortened


def test_what_is_not_judged_is_told(run: Path) -> None:
    model = load(run)
    assert isinstance(model, TextGenerator)
    long = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "the cat " * model.max_length}]
    rows = [*chats(3), {"messages": long}]
    model.evaluate(rows, before=False)
    [note] = model.notes
    assert note.startswith("1 exchange is longer than") and "left out" in note
    model.evaluate([*chats(1), *[{"prompt": "Once upon", "completion": " a time"}] * 120], before=False)
    assert model.notes == ("what is written is judged for the first 100 of 121 prompts",)
    notes: list[str] = []
    model.fit(chats(4), chats(2), [{"prompt": "Once upon", "completion": " a time"}] * 101, epochs=1,
              listener=lambda event: notes.append(event.text))  # fmt: skip
    assert notes.count("what is written is judged for the first 100 of 101 prompts") == 1


def test_the_commands(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), "the cat", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "the cat", "written": "sat on the mat"}
    monkeypatch.setattr("sys.stdin", io.StringIO("the dog\n"))
    assert main(["chat", str(run)]) == 0
    assert capsys.readouterr().out.strip() == "lay by the door"
    monkeypatch.setattr("sys.stdin", io.StringIO("/foo\n/help\n/new\nthe dog\n/bye\nthe cat\n"))
    assert main(["chat", str(run)]) == 0
    out, said = capsys.readouterr()
    assert out.strip() == "lay by the door"
    assert said.startswith("there is no command /foo; there are /new, /help, /bye\n") and said.count("/bye ") == 2
    assert main(["evaluate", str(run), "--data", str(run.parent / "chats.jsonl"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert found.keys() == {"loss", "perplexity", "exact_match", "rougeL"} and found["perplexity"] < 1.5
    again = ["train", "text-generation", "--model", str(run), "--train", str(run.parent / "chats.jsonl"), "--epochs"]
    assert main([*again, "0.2", "--out", str(run.parent / "more")]) == 0
    assert main([*again, "1", "--class-weights", "balanced", "--out", str(run.parent / "x")]) == 2


def test_a_resume_has_the_bits_of_a_run_that_was_not_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "chats.jsonl"
    data.write_text("\n".join(map(json.dumps, chats(24))), "utf-8")
    whole = TextGenerator.from_pretrained(folder).fit(data, out=tmp_path / "whole", epochs=2, listener=silent)
    step = Loop._step

    def stopping(loop: Loop, signals: Any) -> None:
        if loop.state.step == 2:
            loop._save()
            raise KeyboardInterrupt
        step(loop, signals)

    monkeypatch.setattr(Loop, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        TextGenerator.from_pretrained(folder).fit(data, out=tmp_path / "cut", epochs=2, listener=silent)
    monkeypatch.undo()
    found = resume(tmp_path / "cut", listener=silent)
    assert found.model is not None and whole.model is not None
    for name, value in whole.model.parameters().items():
        np.testing.assert_array_equal(found.model.parameters()[name].numpy(), value.numpy(), err_msg=name)
    assert found.predict("the cat") == whole.predict("the cat")


def test_a_source_tree_and_a_model_from_scratch(tmp_path: Path) -> None:
    for name in "abcdefghijkl":
        (tmp_path / f"{name}.py").write_text(f"def {name}(x):\n    return x + 1\n" * 8)
    model = TextGenerator.new(tmp_path, model_type="gpt2", layers=1, hidden=32, heads=4, context=32, vocab_size=300)
    model.fit(tmp_path, epochs=12, lr=1e-2, batch_tokens=256, listener=silent)
    model_before = TextGenerator.new(tmp_path, model_type="gpt2", layers=1, hidden=32, heads=4, context=32,
                                     vocab_size=300)  # fmt: skip
    scores = [one.evaluate(tmp_path, before=False) for one in (model_before, model)]
    assert scores[1]["perplexity"] < scores[0]["perplexity"] / 10
    assert scores[1].metrics.keys() == {"loss", "perplexity"}
    assert "return x" in model.generate("def c(x):\n", max_new_tokens=12).text


def test_what_cannot_be_fine_tuned(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match="has no head for text-generation"):
        TextGenerator.from_pretrained(tiny_bert.write(tmp_path / "bert"))
    other = tmp_path / "endless"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / "tokenizer_config.json").write_text("{}")
    with pytest.raises(HandloomError, match="names no eos_token that could end a turn"):
        TextGenerator.from_pretrained(other).fit(chats(20), listener=silent)


# -- summaries


TEXTS = [("the cat sat on the mat and the dog lay by the door", "the cat sat"),
         ("the dog lay by the door and the cat sat", "the dog lay")]  # fmt: skip


def test_a_decoder_summarizes(folder: Path, tmp_path: Path) -> None:
    rows = [(f"{'the ' * (i % 5)}{text}", summary) for i in range(20) for text, summary in TEXTS]
    model = Summarizer.from_pretrained(folder, prompt="{text} What is")
    assert model.evaluate(rows[:4])["rougeL"] < 0.5  # zero-shot
    model.fit(rows, rows[:6], rows[:6], out=tmp_path / "run", **HOW)
    assert model.scores is not None and model.scores["rougeL"] > 0.9
    assert set(model.baselines) == {"the first sentence", "the most central sentence"}
    again = load(tmp_path / "run")
    assert isinstance(again, Summarizer) and again.task is not None
    assert again.task.settings()["prompt"] == "{text} What is"
    assert again.predict([TEXTS[0][0], TEXTS[1][0]]) == [TEXTS[0][1], TEXTS[1][1]]
    assert again.evaluate(rows[:4], before=False)["rougeL"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("template", [None, PLAIN])
def test_long_texts_leave_room_for_what_is_written(folder: Path, template: str | None) -> None:
    model = Summarizer.from_pretrained(folder)
    if template is not None:
        model.tokenizer.adopt_chat_template(template)
    model.task.room = 8
    examples = read([("the cat sat " * 40, "the cat " * 9), ("the dog", "a dog")], "summarization").examples
    encoded = model.task.encode(examples, model.tokenizer, 48, "windows")
    prompts, notes = model.task.prompts([example.text for example in examples], model.tokenizer, 48)
    assert len(prompts[0]) <= 40 and len(encoded.features[0]) <= 48
    for one, prompt in zip(encoded.features, prompts, strict=True):
        assert one.rows is not None and one.rows[0] == len(prompt) - 1  # the first of what is written comes behind it
        np.testing.assert_array_equal(one.encoding.ids[: len(prompt)], prompt)
    assert encoded.notes == tuple(f"1 of 2 {what} was too long for 48 tokens, 8 of them for what is written, and has "
                                  "been shortened" for what in ("texts", "targets"))  # fmt: skip
    assert notes == encoded.notes[:1]


def test_prompts_that_make_no_sense(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must have \{text\} in it once"):
        Summarizer.from_pretrained(folder, prompt="Summarize!")
    with pytest.raises(UsageError, match="a decoder needs a prompt for translation"):
        Translator.from_pretrained(folder).predict("the cat")
    assert isinstance(Translator.from_pretrained(folder, prompt="{text} =").predict("the cat"), str)
    model = Summarizer.from_pretrained(folder, prompt="the cat sat " * 30 + "{text}")
    with pytest.raises(UsageError, match="leaves no room for a text beside the prompt"):
        model.predict("the cat")


# -- sentences of the text


def test_central_sentences_beside_eigenvectors() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((5, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    alike = rows @ rows.T
    walk = 0.15 / 5 + 0.85 * alike / alike.sum(1, keepdims=True)
    values, vectors = np.linalg.eig(walk.T)
    wanted = np.real(vectors[:, np.argmax(np.real(values))])
    np.testing.assert_allclose(centrality(rows), wanted / wanted.sum(), atol=1e-6)
    np.testing.assert_allclose(centrality(np.zeros((3, 2))), [1 / 3] * 3)


def test_sentences_that_are_taken_out() -> None:
    text = "一二三。四五六。一二四五。"
    assert lead(text, 2) == "一二三。 四五六。"

    def rows(found: Any) -> Any:
        return np.array([[float(c in one) for c in "一二三四五六"] for one in found]) / np.sqrt(3)

    assert central(text, 1, rows) == "一二四五。" and central(text, 5, rows) == "一二三。 四五六。 一二四五。"
    assert central("", 1, rows) == "" == lead("", 1)
    counts = read([("x", "a. b."), ("x", "a."), ("x", "a. b.")], "summarization").examples
    assert usual_count(counts) == 2 and usual_count(()) == 1


# -- parity


@pytest.mark.parity
def test_loss_and_gradients_are_those_of_torch(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = TextGenerator.from_pretrained(folder)
    model.tokenizer.adopt_chat_template(PLAIN)
    task = TextGeneration(1, frozenset({1}))
    examples = [*read(chats(3), "text-generation").examples, GenerationExample(prompt="the cat", target=" sat")]
    features = task.encode(examples, model.tokenizer, 64, "windows").features
    batch = {name: ht.tensor(value) for name, value in task.pack(features).items()}
    assert isinstance(model.model, Headed)

    def loss_of(params: Any) -> Any:
        with model.model.bound(params):
            return task.total(model.model, batch)

    (loss, weight), grads = ht.value_and_grad(loss_of, has_aux=True)(model.model.parameters())
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    total = 0.0
    for one in features:
        assert one.label is not None and one.rows is not None
        labels = np.full(len(one) + 1, -100)
        labels[one.rows + 1] = one.label
        ids = torch.tensor(np.append(one.encoding.ids, 0)[None].astype(np.int64))
        found = theirs(input_ids=ids, labels=torch.tensor(labels[None]))
        part = found.loss * len(one.rows)
        part.backward()
        total += float(part)
    assert float(weight.numpy()) == sum(len(one.rows) for one in features if one.rows is not None)
    assert float(loss.numpy()) == pytest.approx(total, rel=1e-4)
    wanted = {name: value.grad.numpy() for name, value in theirs.named_parameters()}
    for name, grad in grads.items():
        np.testing.assert_allclose(grad.numpy(), wanted[name], rtol=2e-3, atol=2e-3, err_msg=name)
