"""Conversations: what is kept from turn to turn changes no word, and what is too much is forgotten."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from handloom.cli.main import main
from handloom.errors import HandloomError
from handloom.generate.conversation import Conversation, Remembering
from handloom.generate.decoder import Cache
from handloom.generate.generator import Writer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("talk") / "tiny")


@pytest.fixture(scope="module")
def generator(folder: Path) -> Writer:
    return Writer.from_pretrained(folder)


def test_replies_are_those_of_the_whole_conversation(generator: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    reading = Cache.read

    def counted(cache: Cache, prompts: Any) -> Any:
        read.append(sum(map(len, prompts)))
        return reading(cache, prompts)

    monkeypatch.setattr(Cache, "read", counted)
    talk = Conversation(generator, system="a cat")
    told: list[dict[str, str]] = [{"role": "system", "content": "a cat"}]
    for line in ("the", "dog", "mat"):
        reply = "".join(talk.say(line, max_new_tokens=5, temperature=0.8, seed=3))
        told.append({"role": "user", "content": line})
        mine = read.pop()
        alone = generator.generate(told, max_new_tokens=5, temperature=0.8, seed=3)
        assert reply == alone.text
        whole = read.pop()
        assert mine == whole if line == "the" else mine < whole
        told.append({"role": "assistant", "content": reply.strip()})
    assert talk.messages == told and talk.forgotten == 0


def test_only_what_is_new_is_read(generator: Writer) -> None:
    decoder: Any = generator.decoder
    remembering = Remembering(decoder)
    rng = np.random.default_rng(0)
    first = rng.integers(8, 90, 12).astype(np.int32)
    remembering.start([first])
    for other in (first, first[:5], np.append(first[:5], first[:9]), rng.integers(8, 90, 40).astype(np.int32)):
        prompt = np.asarray(other, np.int32)
        logits = remembering.start([prompt])[1]
        np.testing.assert_array_equal(logits, decoder.start([prompt])[1])
        token = logits.argmax(-1).astype(np.int32)
        again, _ = decoder.start([prompt])
        np.testing.assert_array_equal(remembering.step(token), again.step(token))
        assert remembering.shared(np.append(prompt, token)) == len(prompt)


def test_the_oldest_is_forgotten_where_the_context_is_full(generator: Writer) -> None:
    talk = Conversation(generator, system="s")
    for line in ("one two", "three four", "five six", "seven"):
        assert "".join(talk.say(line, max_new_tokens=3)).strip() == talk.messages[-1]["content"]
    assert talk.forgotten and talk.messages[0]["role"] == "system"
    assert [m["role"] for m in talk.messages[1:]][::2] == ["user"] * (len(talk.messages[1:]) // 2)
    with pytest.raises(HandloomError, match="shorten"):
        list(talk.say("the dog " * 60))


def test_a_reply_that_is_cut_off_is_kept_as_far_as_it_was_said(generator: Writer) -> None:
    talk = Conversation(generator)
    stream = talk.say("the", max_new_tokens=20)
    begun = next(stream)
    stream.close()
    assert talk.messages == [{"role": "user", "content": "the"}, {"role": "assistant", "content": begun.strip()}]
    talk.begin_anew()
    assert talk.messages == []


def test_a_model_without_a_template(generator: Writer) -> None:
    bare = Writer(generator.decoder, generator.tokenizer, generator.ends)
    with pytest.raises(HandloomError, match="no chat template"):
        Conversation(bare)


def test_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("the\n\n/new\nthe\n/bye\nnever said\n"))
    assert main(["chat", str(folder), "--max-new-tokens", "5"]) == 0
    lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert len(lines) >= 2 and lines[: len(lines) // 2] == lines[len(lines) // 2 :]
