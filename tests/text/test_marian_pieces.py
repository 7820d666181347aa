"""Marian's tokenizer: two SentencePiece models and a vocabulary, beside transformers' MarianTokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from marian_folder import ENGLISH, FRENCH, write
from test_sentencepiece_file import written

from handloom.errors import HandloomError
from handloom.text.tokenizer import Tokenizer

AWKWARD = [
    "the cat", ">>fra<< the dog is playing", ">>fra<<the dog", ">>xyz<< the dog", "a >>fra<< in the middle", ">> no <<",
    ">>open", "", " ", "  the   cat , in\tParis!\n", "Ｈｅｌｌｏ ｗorld ﬁne", "我爱北京 天安门", "🚀 e\u0301 ž", "€ 5",
    "x</s>y", "<unk> <s> <pad>", "the\u2581cat", "\u2581the", "</s>>>fra<< the", "à la rivière", "\0\x07",
    "the cat lives in Paris 🚀 " * 200,
]  # fmt: skip


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Recommended")
@pytest.mark.parametrize(("separate", "how"), [
    (False, {}), (True, {}), (False, {"byte_fallback": True, "vocab_size": 400}),
])  # fmt: skip
def test_as_transformers(separate: bool, how: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "own"
    folder.mkdir()
    ours = Tokenizer.load(write(folder, separate, **how))
    theirs = transformers.MarianTokenizer.from_pretrained(folder)
    for text in (*AWKWARD, *ENGLISH[:4], *FRENCH[:4]):
        wanted = theirs(text)["input_ids"]
        assert ours.ids(text).tolist() == wanted, text[:40]
        assert ours.ids(text, frame=False).tolist() == wanted[:-1]
        target = theirs(text_target=text)["input_ids"]
        assert ours.target.ids(text).tolist() == target, text[:40]
        for special in (False, True):
            assert ours.target.decode(target, special) == theirs.decode(target, skip_special_tokens=not special)
    ids = np.random.default_rng(3).integers(0, len(json.loads((folder / "vocab.json").read_text())), (30, 12))
    for row in ids[(ids < ours.target.size).all(1)]:
        assert ours.target.decode(row) == theirs.decode(row, skip_special_tokens=True)
    ours.save(tmp_path / "saved")
    assert not (tmp_path / "saved" / "tokenizer.json").exists()
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved", config=transformers.MarianConfig())
    assert again(AWKWARD[1])["input_ids"] == ours.ids(AWKWARD[1]).tolist()


VOCABULARY = {"</s>": 0, "<unk>": 1, "▁the": 2, "▁c": 3, "at": 4, "z": 5, ">>fra<<": 6, "<pad>": 7}


def small(folder: Path, vocabulary: dict[str, Any] = VOCABULARY, config: str = "{}") -> Path:
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(written())
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer_config.json").write_text(config)
    return folder


def test_places_and_names(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(small(tmp_path))
    text = ">>fra<< the  cat q"
    coded = tokenizer.encode(text)
    assert coded.ids.tolist() == [6, 2, 3, 4, 1, 1, 0]  # neither the space nor q is in the vocabulary
    assert [text[a:b] for a, b in coded.offsets.tolist()] == [">>fra<<", "the", "c", "at", "", "q", ""]
    assert tokenizer.encode("the", "cat").ids.tolist() == [2, 3, 4, 0]
    assert tokenizer.ids("z").tolist() == [1, 5, 0]  # a word of the vocabulary that no piece spells
    assert (tokenizer.unk, tokenizer.pad, tokenizer.size, len(tokenizer.special_ids)) == (1, 7, 8, 3)
    assert [x.tolist() for x in tokenizer.ids_batch(["the", ""])] == [[2], []]
    assert tokenizer.target.decode([6, 2, 3, 4, 99, 0]) == ">>fra<< the cat"
    with pytest.raises(HandloomError, match="none that are split into words"):
        tokenizer.encode_words_batch(["the"], [[(0, 3)]])  # type: ignore[list-item]


@pytest.mark.parametrize(("spoilt", "message"), [
    ({"target.spm": None}, "lacks target.spm; Marian's tokenizer consists of source.spm, target.spm and vocab.json"),
    ({"vocab.json": None}, "lacks vocab.json"),
    ({"tokenizer_config.json": '{"separate_vocabs": true}'}, "lacks target_vocab.json; .* with separate_vocabs of"),
    ({"vocab.json": '{"<unk>": 0, "<pad>": 1}'}, "vocab.json: lacks '</s>', the eos_token"),
    ({"vocab.json": '{"<unk>": 0, "</s>": 0}'}, "vocab.json: a vocabulary gives every token a number of its own"),
    ({"vocab.json": '{"<unk>": 0, "</s>": "1"}'}, "a number of its own"),
    ({"vocab.json": "[]"}, "should hold a JSON object"),
    ({"source.spm": "x"}, "source.spm cannot be read as a SentencePiece model"),
    ({"target.spm": written(kind=2)}, "target.spm: a SentencePiece model of the kind BPE"),
    ({"tokenizer_config.json": '{"extra_special_tokens": ["<x>"]}'}, "lacks '<x>', one of the extra_special_tokens"),
])  # fmt: skip
def test_broken_folders(spoilt: dict[str, str | bytes | None], message: str, tmp_path: Path) -> None:
    small(tmp_path)
    for name, content in spoilt.items():
        (tmp_path / name).unlink()
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(HandloomError, match=message):
        Tokenizer.load(tmp_path)
