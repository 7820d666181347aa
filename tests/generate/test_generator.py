"""Writer from a folder: prompts, conversations, stop strings, streams, samples, scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import write

import handloom.tensor as ht
from handloom.cli.main import main
from handloom.errors import HandloomError, UsageError
from handloom.generate.generator import Writer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="module")
def generator(folder: Path) -> Writer:
    found = Writer.from_pretrained(folder)
    assert isinstance(found, Writer)
    return found


def test_end_tokens_come_from_the_folder(generator: Writer) -> None:
    assert generator.ends == {1, 5}


def test_one_prompt_several_prompts_and_streams_agree(generator: Writer) -> None:
    how = {"max_new_tokens": 14, "temperature": 0.9, "seed": 4}
    one = generator.generate("the cat", **how)
    both = generator.generate(["the dog lay by", "the cat"], **how)
    assert both[1] == one and both[0] != one
    assert "".join(generator.stream("the cat", **how)) == one.text
    assert one.finish in ("length", "end") and len(one.ids) <= 14
    assert generator.generate("the cat", **{**how, "seed": 5}) != one


def test_samples_differ_and_the_first_is_the_one_alone(generator: Writer) -> None:
    how = {"max_new_tokens": 10, "temperature": 1.5, "seed": 1}
    groups = generator.generate(["the", "dog"], samples=3, **how)
    assert [len(group) for group in groups] == [3, 3]
    assert groups[0][0] == generator.generate("the", **how)
    assert len({g.text for g in groups[0]}) > 1


def test_a_stop_string_ends_the_text_before_it(generator: Writer) -> None:
    free = generator.generate("the cat", max_new_tokens=30)
    stop = free.text[5:8]
    cut = generator.generate("the cat", max_new_tokens=30, stop=stop)
    assert cut.finish == "stop" and cut.text == free.text[: free.text.index(stop)] and len(cut.ids) < len(free.ids)
    assert "".join(generator.stream("the cat", max_new_tokens=30, stop=[stop, "never"])) == cut.text


def test_a_conversation_goes_through_the_template(generator: Writer) -> None:
    talk = [{"role": "user", "content": "Hi"}]
    assert generator.chat_text(talk) == "<user>Hi</s>"
    ids = generator.encode(talk)
    assert ids[-1] == 1 and 0 not in ids
    assert generator.generate(talk, max_new_tokens=3) == generator.generate([talk], max_new_tokens=3)[0]
    with pytest.raises(HandloomError, match="no chat template"):
        Writer(generator.decoder, generator.tokenizer).generate(talk)


def test_scores_are_those_of_the_logits(generator: Writer) -> None:
    scores = generator.score("the cat sat")
    assert scores[0].log_probability is None and scores[0].token == "<s>"
    ids = np.array([s.id for s in scores], np.int32)
    logits = np.concatenate(list(generator.decoder.logits(ids))).astype(np.float64)
    exact = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(
        1, keepdims=True
    )
    np.testing.assert_allclose(
        [s.log_probability for s in scores[1:]], exact[np.arange(len(ids) - 1), ids[1:]], rtol=1e-5, atol=1e-5
    )
    assert [(s.start, s.end) for s in scores][-1][1] == len("the cat sat") and scores[0].start == scores[0].end
    assert generator.next_token_probabilities("", top=1)[0].id == int(generator.decoder.start([ids[:1]])[1].argmax())
    assert [s.token for s in generator.score("")] == ["<s>"]
    likely = generator.next_token_probabilities("the cat sat", top=90)
    assert sum(x.probability for x in likely) == pytest.approx(1, abs=1e-6)
    assert likely[0].id == int(logits[-1].argmax())


def test_beams(generator: Writer) -> None:
    found = generator.beams("the cat", beams=3, max_new_tokens=6)
    assert len(found) == 3 and found[0].score >= found[1].score >= found[2].score  # type: ignore[operator]
    with pytest.raises(UsageError, match="leave out the temperature"):
        generator.beams("the cat", temperature=1.0)


def test_mistakes_are_named(generator: Writer) -> None:
    with pytest.raises(UsageError, match="unknown setting 'temprature'; there are temperature"):
        generator.generate("the", temprature=1.0)
    with pytest.raises(UsageError, match="samples must be at least 1"):
        generator.generate("the", samples=0)
    with pytest.raises(HandloomError, match="the model's context holds 64"):
        generator.generate("the cat " * 64)


def test_weights_that_are_no_numbers(generator: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder: Any = generator.decoder
    broken = {**decoder.program.params, "model.norm.weight": ht.tensor(np.full(32, np.nan, np.float32))}
    monkeypatch.setattr(decoder.program, "params", broken)
    for ask in (generator.generate, generator.score, generator.next_token_probabilities, generator.beams):
        with pytest.raises(HandloomError, match="not numbers"):
            ask("the cat")


def test_the_coldest_temperature_takes_the_likeliest(generator: Writer) -> None:
    wanted = generator.generate("the cat", max_new_tokens=5).text
    assert generator.generate("the cat", max_new_tokens=5, temperature=1e-300).text == wanted


def test_a_template_that_writes_nothing(generator: Writer) -> None:
    silent = Writer(generator.decoder, generator.tokenizer, generator.ends, "{% if false %}x{% endif %}")
    with pytest.raises(HandloomError, match="writes nothing"):
        silent.generate([{"role": "user", "content": "Hi"}])


def test_a_text_without_tokens_has_no_score(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(folder), "", "the cat"]) == 0
    none, some = capsys.readouterr().out.splitlines()
    assert none.split("\t")[0] == "–" and float(some.split("\t")[0]) < 0
