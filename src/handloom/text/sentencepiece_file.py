"""SentencePiece models (Kudo and Richardson, 2018) as tokenizers of the `tokenizers` library.

The file is a protocol-buffer message, of which a few fields are needed (sentencepiece_model.proto): `pieces` (1), each
with its text (1), score (2) and type (3); of `trainer_spec` (2) the model's kind (3); of `normalizer_spec` (3) the
table of characters (2) and what is done with spaces (3, 4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from handloom.errors import HandloomError

SIZE_LIMIT = 64 * 2**20  # bytes
UNIGRAM = 1
KINDS = {1: "unigram", 2: "BPE", 3: "word", 4: "character"}
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
SPACE = "▁"


@dataclass(frozen=True)
class SentencePieceModel:
    """pieces: (text, score) by id; types: of pieces; charsmap: the compiled table of the normaliser; dummy_prefix: a
    text begins as if a space stood before it; squeeze: runs of spaces are one."""

    pieces: list[tuple[str, float]]
    types: list[int]
    kind: int
    charsmap: bytes
    dummy_prefix: bool
    squeeze: bool

    def ids_of(self, kind: int) -> list[int]:
        return [index for index, found in enumerate(self.types) if found == kind]


def parse(path: Path, content: bytes) -> SentencePieceModel:
    """Raises HandloomError for what is no such model, or none of a kind that is known."""
    if len(content) > SIZE_LIMIT:
        raise HandloomError(f"{path}: larger than {SIZE_LIMIT} bytes, which no SentencePiece model is")
    pieces: list[tuple[str, float]] = []
    types: list[int] = []
    kind, charsmap, flags = UNIGRAM, b"", {3: 1, 4: 1}
    try:
        for number, value in _fields(content):
            if number == 1:
                piece = dict(_fields(_message(value)))
                pieces.append((_message(piece[1]).decode("utf-8"), float(piece.get(2, 0.0))))
                types.append(int(piece.get(3, 1)))
            elif number == 2:
                kind = int(dict(_fields(_message(value))).get(3, UNIGRAM))
            elif number == 3:
                found = dict(_fields(_message(value)))
                charsmap = _message(found.get(2, b""))
                flags |= {key: int(found[key]) for key in flags if key in found}
    except (ValueError, TypeError, KeyError, IndexError, struct.error) as problem:
        raise HandloomError(
            f"{path} cannot be read as a SentencePiece model ({problem or type(problem).__name__}); "
            "if it was cut short, fetch it again."
        ) from problem
    if (unknown := types.count(UNKNOWN)) != 1:
        raise HandloomError(f"{path}: a SentencePiece model has one unknown piece, and this file {unknown}")
    return SentencePieceModel(pieces, types, kind, charsmap, bool(flags[3]), bool(flags[4]))


def _message(value: bytes | int | float) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a number where a message belongs")
    return value


def _fields(content: bytes) -> Iterator[tuple[int, bytes | int | float]]:
    """(number, value) of the fields of a message, by the wire format of protocol buffers."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(content, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(content, at)
            if at + size > len(content):
                raise ValueError(f"a field of {size} bytes ends behind the file")
            yield number, content[at : at + size]
            at += size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            yield number, float(struct.unpack("<d" if wire == 1 else "<f", content[at : at + size])[0])
            at += size
        else:
            raise ValueError(f"wire type {wire} at byte {at}")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError(f"an endless number at byte {at}")


def unigram(
    path: Path, model: SentencePieceModel, pieces: Sequence[tuple[str, float]], unknown: int, lowercase: bool = False
) -> Tokenizer:
    """A tokenizer over `pieces`, the model's in the order of the family's ids. `unknown`: the id of what is not known.

    Raises HandloomError where the model is of another kind.
    """
    if model.kind != UNIGRAM:
        kind = KINDS.get(model.kind, str(model.kind))
        raise HandloomError(f"{path}: a SentencePiece model of the kind {kind}; a unigram model belongs here")
    tokenizer = Tokenizer(models.Unigram(list(pieces), unknown, False))
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if lowercase:
        steps.append(normalizers.Lowercase())
    if model.squeeze:
        steps += [normalizers.Strip(left=True, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if model.dummy_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    own = [model.pieces[index][0] for index in model.ids_of(USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in own])
    return tokenizer
