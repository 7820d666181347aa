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


def written(kind: int = 1, pieces: list[tuple[str, float, int]] = PIECES) -> bytes:
    parts = [field(1, field(1, text.encode()) + field(2, score) + field(3, type)) for text, score, type in pieces]
    return b"".join(parts) + field(2, field(3, kind)) + field(3, field(1, b"identity"))


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
