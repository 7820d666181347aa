"""Which tokens of a conversation are learnt, and what becomes of one that is too long."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from workplace import tiny_llama

from handloom.data.examples import GenerationExample, Turn
from handloom.errors import HandloomError, UsageError
from handloom.tasks.continuing import feature, windows
from handloom.tasks.task import Encoded
from handloom.tasks.text_generation import TextGeneration, fitted
from handloom.text.chat import PLAIN
from handloom.text.tokenizer import Tokenizer

MARKING = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tiny_llama.write(tmp_path_factory.mktemp("dialogue") / "tiny"))


def tokenizer_with(folder: Path, template: str | None) -> Tokenizer:
    found = Tokenizer.load(folder)
    if template is not None:
        found.adopt_chat_template(template)
    return found


def talk(*said: str, system: str | None = None) -> GenerationExample:
    turns = [Turn("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(said)]
    return GenerationExample(tuple([Turn("system", system)] * (system is not None) + turns), where="chats:1")


def learnt(encoded: Encoded, tokenizer: Tokenizer) -> list[list[str]]:
    """The runs of learnt tokens of each feature, as text."""
    found = []
    for one in encoded.features:
        assert one.label is not None and one.rows is not None
        runs = np.split(one.label, np.flatnonzero(np.diff(one.rows) != 1) + 1)
        found.append([tokenizer.decode(run.tolist(), special=True) for run in runs])
        assert one.rows[-1] == len(one.encoding) - 1  # nothing behind the last learnt token is read
        np.testing.assert_array_equal(one.encoding.ids[one.rows[:-1] + 1][np.diff(one.rows) == 1],
                                      one.label[:-1][np.diff(one.rows) == 1])  # fmt: skip
    return found


@pytest.mark.parametrize("template", [PLAIN, MARKING])
def test_the_assistants_words_and_what_ends_them(folder: Path, template: str) -> None:
    tokenizer, task = tokenizer_with(folder, template), TextGeneration(1, frozenset({1}))
    encoded = task.encode([talk("the cat", "sat", "the dog", "lay"), talk("mat", "door")], tokenizer, 64, "windows")
    assert learnt(encoded, tokenizer) == [["sat</s>", "lay</s>"], ["door</s>"]]
    assert encoded.notes == () and task.turn_ends == {1}
    batch = task.pack(encoded.features)
    counts = [len(one.rows) for one in encoded.features if one.rows is not None]
    assert len(batch["rows"]) == len(batch["labels"]) == sum(counts)
    assert (batch["ids"][batch["rows"][1:]] != -100).all() and batch["starts"][-1] == len(batch["ids"])


def test_a_mark_without_the_end_takes_it_along(folder: Path) -> None:
    bare = MARKING.replace("{{ m.content }}</s>{% endgeneration %}", "{{ m.content }}{% endgeneration %}</s>")
    tokenizer = tokenizer_with(folder, bare)
    encoded = TextGeneration(1, frozenset({1})).encode([talk("the cat", "sat")], tokenizer, 64, "windows")
    assert learnt(encoded, tokenizer) == [["sat</s>"]]
    endless = tokenizer_with(folder, bare.replace("</s>", ""))
    with pytest.raises(HandloomError, match="chats:1: the chat template ends what the assistant says, 'sat', with"):
        TextGeneration(1, frozenset({1})).encode([talk("the cat", "sat")], endless, 64, "windows")


def test_a_long_conversation_is_cut_between_exchanges(folder: Path) -> None:
    tokenizer, task = tokenizer_with(folder, MARKING), TextGeneration(1, frozenset({1}))
    long = talk("the cat", "sat", "the dog", "lay", "the mat", "by", "the door", "on", system="Hi")
    whole = len(task.encode([long], tokenizer, 1000, "windows").features[0])
    encoded = task.encode([long], tokenizer, whole - 1, "windows")
    assert learnt(encoded, tokenizer) == [["sat</s>", "lay</s>", "by</s>"], ["on</s>"]]
    texts = [tokenizer.decode(f.encoding.ids.tolist()) for f in encoded.features]
    assert all(text.startswith("<system>Hi<user>the ") for text in texts) and "door" in texts[1]
    assert max(map(len, encoded.features)) <= whole - 1
    assert encoded.notes == (f"1 of 1 conversation is longer than {whole - 1} tokens and is learnt in 2 parts of "
                             "whole turns, each with what the system says",)  # fmt: skip
    assert len(task.encode([long], tokenizer, whole, "windows").features) == 1
    head = task.encode([long], tokenizer, whole - 1, "head")
    assert learnt(head, tokenizer) == [["sat</s>", "lay</s>", "by</s>"]]
    assert head.notes[0].endswith("from its first turns alone; 1 exchange behind those is left out")
    with pytest.raises(UsageError, match="read from its head, or in windows"):
        task.encode([long], tokenizer, 20, "head-tail")


def test_an_exchange_that_is_too_long_is_left_out_and_told(folder: Path) -> None:
    tokenizer, task = tokenizer_with(folder, MARKING), TextGeneration(1, frozenset({1}))
    long = talk("the cat", "sat", "the dog " * 40, "lay", "the mat", "by")
    encoded = task.encode([long, talk("mat", "on")], tokenizer, 40, "windows")
    assert learnt(encoded, tokenizer) == [["sat</s>"], ["by</s>"], ["on</s>"]]
    told = "1 exchange is longer than 40 tokens by itself and is left out: chats:1, exchange 2"
    assert encoded.notes[1] == told
    with pytest.raises(HandloomError, match="nothing is left to learn: 1 exchange is longer than 40"):
        task.encode([talk("the dog " * 40, "lay")], tokenizer, 40, "windows")


def test_prompts_with_what_follows(folder: Path) -> None:
    tokenizer, task = tokenizer_with(folder, None), TextGeneration(1, frozenset({1}))
    rows = [GenerationExample(prompt="the cat", target=" sat"), GenerationExample(prompt="the dog ", target="lay"),
            GenerationExample(prompt="the", target="")]  # fmt: skip
    encoded = task.encode(rows, tokenizer, 64, "windows")
    assert learnt(encoded, tokenizer) == [[" sat</s>"], [" lay</s>"], ["</s>"]]
    assert encoded.features[0].encoding.ids[0] == 0  # <s>, as before every text
    assert encoded.notes == ("1 prompt has other tokens when it stands alone (one that ends with a blank, say): "
                             "what follows will begin a little otherwise than it was learnt",)  # fmt: skip
    long = [GenerationExample(prompt="the cat " * 30, target=" sat")]
    cut = task.encode(long, tokenizer, 12, "windows")
    assert learnt(cut, tokenizer)[0][0].endswith("sat</s>") and len(cut.features[0]) <= 12 and "1 of 1" in cut.notes[0]


@pytest.mark.parametrize(("before", "after", "room", "wanted"), [
    (3, 3, 6, (3, 3)), (4, 3, 6, (3, 3)), (9, 2, 6, (4, 2)), (2, 9, 6, (2, 4)), (9, 9, 6, (3, 3)), (0, 9, 6, (0, 6)),
])  # fmt: skip
def test_what_is_read_of_a_long_pair(before: int, after: int, room: int, wanted: tuple[int, int]) -> None:
    assert fitted(before, after, room) == wanted


@pytest.mark.parametrize("count", [1, 2, 8, 9, 10, 17, 18])
def test_windows_learn_every_token_but_the_first_once(count: int) -> None:
    ids = np.arange(count, dtype=np.int32)
    found = windows(0, ids, 8, "windows")
    labels = [label for one in found if one.label is not None for label in one.label.tolist()]
    assert labels == list(range(1, count)) and all(len(one) <= 8 for one in found)
    for one in found:
        assert one.label is not None
        np.testing.assert_array_equal(one.encoding.ids + 1, one.label)
    assert len(windows(0, ids, 8, "head")) == min(len(found), 1)


def test_a_text_that_goes_on_has_no_end(folder: Path) -> None:
    tokenizer, task = tokenizer_with(folder, None), TextGeneration(1, frozenset({1}))
    rows = [GenerationExample(target="the cat", goes_on=True), GenerationExample(target="the cat")]
    encoded = task.encode(rows, tokenizer, 64, "windows")
    assert learnt(encoded, tokenizer) == [["the cat"], ["the cat</s>"]]
    assert feature(0, np.arange(3, dtype=np.int32), np.array([True, False, False])) is None
    with pytest.raises(HandloomError, match="has no chat template"):
        other = Tokenizer.load(folder)
        other._source.config.pop("chat_template")
        task.encode([talk("a", "b")], other, 64, "windows")


@pytest.mark.parity
def test_the_tokens_that_transformers_marks(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = tokenizer_with(folder, MARKING)
    tokenizer.save(tmp_path)
    about = json.loads((tmp_path / "tokenizer_config.json").read_text())
    about.pop("chat_template", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**about, "tokenizer_class": "PreTrainedTokenizerFast"}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    one = talk("the cat", "sat on the mat", "the dog", "lay by the door", system="Hi")
    said = [{"role": turn.role, "content": turn.content} for turn in one.turns]
    wanted = theirs.apply_chat_template(said, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    [made] = TextGeneration(1, frozenset({1})).encode([one], tokenizer, 1000, "windows").features
    mask = np.array(wanted["assistant_masks"])
    ids = np.array(wanted["input_ids"])
    assert made.rows is not None and made.label is not None
    np.testing.assert_array_equal(made.rows + 1, np.flatnonzero(mask))
    np.testing.assert_array_equal(made.label, ids[mask == 1])
    np.testing.assert_array_equal(made.encoding.ids, ids[: len(made)])
