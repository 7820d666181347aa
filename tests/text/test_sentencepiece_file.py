"""SentencePiece models: read from their bytes, refused when broken, and the ids of the library that made them."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from handloom.errors import HandloomError
from handloom.text.sentencepiece_file import parse
from handloom.text.tokenizer import Tokenizer

TEXTS = ["the cat lives in Paris", "the dog is playing", "Marie Curie worked in Paris.", "我爱北京天安门"] * 6
AWKWARD = ["the  cat lives , in\tParis!", " Ｈｅｌｌｏ ｗorld ﬁne ", "我爱北京 x", "", " ", "žluť 🚀 e\u0301"]
PIECES = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("▁", -1.0, 1), ("▁the", -1.5, 1), ("▁c", -2.0, 1),
          ("at", -2.0, 1), ("我", -3.0, 1), ("<sep>", 0.0, 4)]  # fmt: skip


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, value: bytes | int | float) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def written(kind: int = 1, pieces: list[tuple[str, float, int]] = PIECES, trainer: bytes = b"") -> bytes:
    parts = [field(1, field(1, text.encode()) + field(2, score) + field(3, type)) for text, score, type in pieces]
    return b"".join(parts) + field(2, field(3, kind) + trainer) + field(3, field(1, b"identity"))


def test_ids_of_xlm_roberta_are_one_higher(tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(written())
    tokenizer = Tokenizer.load(tmp_path)
    encoding = tokenizer.encode("the  cat 我 z", "the")
    spelled = [tokenizer.token(index) for index in encoding.ids.tolist()]
    own = ["▁the", "▁c", "at", "▁", "我", "▁", "<unk>"]
    assert spelled == ["<s>", *own, "</s>", "</s>", "▁the", "</s>"]
    assert encoding.ids.tolist() == [0, 5, 6, 7, 4, 8, 4, 3, 2, 2, 5, 2] and not encoding.types.any()
    assert (tokenizer.cls, tokenizer.sep, tokenizer.pad, tokenizer.unk, tokenizer.mask) == (0, 2, 1, 3, 10)
    assert tokenizer.encode("the <mask> cat<sep>").ids.tolist() == [0, 5, 10, 6, 7, 9, 2]
    text = "the  cat 我 z"
    assert [text[a:b] for a, b in encoding.offsets[1:8].tolist()] == ["the", "c", "at", "", "我", "", "z"]


def test_debertas_mask_stands_behind_the_last_piece(tmp_path: Path) -> None:
    head = [("[PAD]", 0.0, 3), ("[CLS]", 0.0, 3), ("[SEP]", 0.0, 3), ("[UNK]", 0.0, 2)]
    (tmp_path / "spm.model").write_bytes(written(pieces=[*head, *PIECES[3:8]]))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true, "vocab_type": "spm"}')
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.cls, tokenizer.sep, tokenizer.pad, tokenizer.unk, tokenizer.mask) == (1, 2, 0, 3, 9)
    encoding = tokenizer.encode("THE [MASK] z", "the")
    assert encoding.ids.tolist() == [1, 5, 9, 4, 3, 2, 5, 2]
    assert encoding.types.tolist() == [0] * 6 + [1] * 2


@pytest.mark.parametrize(("content", "message"), [
    (b"", "has one unknown piece, and this file 0"),
    (written(pieces=PIECES[:1] * 2), "has one unknown piece, and this file 2"),
    (written()[:-3], "cannot be read as a SentencePiece model .*ends behind the file"),
    (b"\x0a\xff\xff\xff\xff\x0f", "of 4294967295 bytes ends behind the file"),
    (b"\x0b", "wire type 3"),
    (b"\xff" * 20, "endless number"),
    (field(1, 5), "a number where a message belongs"),
    (field(1, field(2, 1.0)), "cannot be read as a SentencePiece model"),
    (written(kind=2), "of the kind BPE; a unigram model belongs here"),
    (written(trainer=field(24, 1)), "whose spaces end words, which is not supported"),
])  # fmt: skip
def test_broken_models_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "spm.model").write_bytes(content)
    with pytest.raises(HandloomError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path / "spm.model") in str(caught.value)


def test_a_model_larger_than_any_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handloom.text.sentencepiece_file.SIZE_LIMIT", 10)
    with pytest.raises(HandloomError, match="larger than 10 bytes"):
        parse(tmp_path / "spm.model", written())


LAYOUTS: dict[str, dict[str, Any]] = {
    "xlm-roberta": {"file": "sentencepiece.bpe.model", "trained": {}},
    "deberta-v2": {"file": "spm.model", "trained": {
        "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]", "bos_piece": "[CLS]",
        "eos_piece": "[SEP]", "unk_piece": "[UNK]",
    }},
}  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("family", LAYOUTS)
def test_ids_are_those_of_sentencepiece_and_of_transformers(family: str, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    transformers = pytest.importorskip("transformers")
    layout, content = LAYOUTS[family], io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=content, vocab_size=60, hard_vocab_limit=False, minloglevel=2,
        character_coverage=1.0, **layout["trained"])  # fmt: skip
    own, saved = tmp_path / "own", tmp_path / "saved"
    own.mkdir()
    (own / layout["file"]).write_bytes(content.getvalue())
    ours = Tokenizer.load(own)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content.getvalue())
    for text in (*AWKWARD, *TEXTS[:5]):
        ids = theirs.encode(text)
        if family == "xlm-roberta":
            ids = [3 if index == 0 else index + 1 for index in ids]
        assert ours.encode(text).ids.tolist()[1:-1] == ids, text
    ours.save(saved)
    (saved / "config.json").write_text(json.dumps({"model_type": family}))
    opened = transformers.AutoTokenizer.from_pretrained(saved)
    for text in AWKWARD:
        assert opened(text, "a pair")["input_ids"] == ours.encode(text, "a pair").ids.tolist(), text
    assert opened.mask_token_id == ours.mask and opened.cls_token_id == ours.cls


TRAINED: dict[str, dict[str, Any]] = {
    "t5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "mt5, bytes": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "byte_fallback": True, "vocab_size": 320},
    "t5, pieces over spaces": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "split_by_whitespace": False},
    "llama": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 330, "normalization_rule_name": "identity",
              "remove_extra_whitespaces": False, "split_digits": True, "add_dummy_prefix": True,
              "allow_whitespace_only_pieces": True},
    "bpe without bytes": {"model_type": "bpe", "user_defined_symbols": ["<sep>"]},
}  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("name", TRAINED)
def test_t5s_and_llamas_files(name: str, tmp_path: Path) -> None:
    """Ids and texts of the library that made the file; and of transformers, where it follows that library."""
    sentencepiece = pytest.importorskip("sentencepiece")
    transformers = pytest.importorskip("transformers")
    unigram = TRAINED[name].get("model_type") != "bpe"
    content = io.BytesIO()
    lines = [*TEXTS, "the  dog   is 12 years", "def f(x):", "    return x"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=content, hard_vocab_limit=False, minloglevel=2,
        **{"vocab_size": 60, **TRAINED[name]})  # fmt: skip
    own, saved = tmp_path / "own", tmp_path / "saved"
    own.mkdir()
    (own / ("spiece.model" if unigram else "tokenizer.model")).write_bytes(content.getvalue())
    ours = Tokenizer.load(own)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content.getvalue())
    assert ours.size == theirs.get_piece_size() + (100 if unigram else 0)
    texts = [*AWKWARD, *lines, "a\tb\n\nc 2026", "the cat " * 500]
    for text in texts:
        if not unigram and text.startswith(" "):
            continue  # as transformers, we put no space before one
        ids = ours.ids(text).tolist()
        bare = ids[:-1] if unigram else ids[1:]
        assert bare == theirs.encode(text), text[:40]
        assert bare == ours.ids(text, frame=False).tolist()
        assert ids == [*bare, 1] if unigram else [1, *bare]
        assert ours.decode(bare, special=True).replace("<unk>", " ⁇ ").strip() == theirs.decode(bare).strip()
    ours.save(saved)
    (saved / "config.json").write_text(json.dumps({"model_type": "t5" if unigram else "llama"}))
    opened = transformers.AutoTokenizer.from_pretrained(saved)
    if "bytes" not in name and "over" not in name:  # which their T5 does not know
        for text in texts:
            assert opened(text)["input_ids"] == ours.ids(text).tolist(), text[:40]
    if name == "t5":
        read = transformers.T5Tokenizer.from_pretrained(own)
        text = "the <extra_id_0> dog <extra_id_99></s> Paris"
        assert read(text)["input_ids"] == ours.ids(text).tolist() == opened(text)["input_ids"]
        assert ours.token_id("<extra_id_0>") == ours.size - 1
        assert ours.encode("the", "dog").ids.tolist() == read("the", "dog")["input_ids"]
    if name == "llama":
        (own / "tokenizer_config.json").write_text('{"add_bos_token": true}')
        read = transformers.LlamaTokenizer.from_pretrained(own)
        for text in [*texts, "the</s> cat<s>dog", " the cat"]:
            assert read(text)["input_ids"] == ours.ids(text).tolist(), text[:40]
            ids = ours.ids(text).tolist()
            assert read.decode(ids, skip_special_tokens=True) == ours.decode(ids)
        (own / "tokenizer_config.json").write_text('{"add_bos_token": false, "add_eos_token": true}')
        assert Tokenizer.load(own).ids("the").tolist() == [*ours.ids("the").tolist()[1:], 2]


def test_files_that_lack_a_token(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(written(pieces=[PIECES[0], *PIECES[3:]]))
    with pytest.raises(HandloomError, match=r"spiece.model: lacks '</s>', the token that ends a text"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"extra_ids": -1}')
    with pytest.raises(HandloomError, match="extra_ids must be a whole number, not -1"):
        Tokenizer.load(tmp_path)
    (tmp_path / "spiece.model").rename(tmp_path / "tokenizer.model")
    with pytest.raises(HandloomError, match="lacks '<s>', the bos_token that add_bos_token asks for"):
        Tokenizer.load(tmp_path)


def test_a_piece_that_is_too_long_to_be_put_together(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(written(kind=2, pieces=[*PIECES, ("a" * 5000, -9.0, 1)]))
    with pytest.raises(HandloomError, match=r"the piece 'a{20}'… has 5,000 characters; at most 4096"):
        Tokenizer.load(tmp_path)
