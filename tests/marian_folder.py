"""A tokenizer's folder such as Marian's checkpoints have, trained on a few sentences."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

ENGLISH = ["the cat lives in Paris", "the dog is playing", "Marie Curie worked in Paris.", "the river 我爱北京"] * 6
FRENCH = ["le chat vit à Paris", "le chien joue", "Marie Curie travaillait à Paris.", "la rivière €"] * 6


def trained(texts: list[str], **how: Any) -> bytes:
    sentencepiece = pytest.importorskip("sentencepiece")
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=content, hard_vocab_limit=False, minloglevel=2,
        **{"vocab_size": 70, **how})  # fmt: skip
    return content.getvalue()


def pieces_of(content: bytes) -> list[str]:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_proto=content)
    return [model.id_to_piece(index) for index in range(model.get_piece_size()) if not model.is_control(index)
            and not model.is_unknown(index)]  # fmt: skip


def write(folder: Path, separate: bool = False, **how: Any) -> Path:
    """A folder as a checkpoint's; every seventh piece is missing from the vocabulary."""
    source, target = trained(ENGLISH, **how), trained(FRENCH)
    (folder / "source.spm").write_bytes(source)
    (folder / "target.spm").write_bytes(target)
    sides = [pieces_of(source), pieces_of(target)]
    parts = sides if separate else [sorted({*sides[0], *sides[1]})]
    for name, pieces in zip(("vocab.json", "target_vocab.json"), parts, strict=False):
        kept = [piece for number, piece in enumerate(pieces) if number % 7 != 3]
        # with two vocabularies, transformers takes the ids of special tokens from the sources'
        tokens = ["</s>", "<unk>", "<pad>", *kept, ">>fra<<"]
        (folder / name).write_text(json.dumps({token: index for index, token in enumerate(tokens)}), encoding="utf-8")
    config = {"source_lang": "eng", "target_lang": "fra", "separate_vocabs": separate}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
