"""SentencePiece models (Kudo and Richardson, 2018) as tokenizers of the `tokenizers` library.

The file is a protocol-buffer message, of which a few fields are needed (sentencepiece_model.proto): `pieces` (1), each
with its text (1), score (2) and type (3); of `trainer_spec` (2) the model's kind (3); of `normalizer_spec` (3) the
table of characters (2) and what is done with spaces (3, 4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from handloom.errors import HandloomError

SIZE_LIMIT = 64 * 2**20  # bytes
UNIGRAM, BPE = 1, 2
KINDS = {UNIGRAM: "unigram", BPE: "BPE", 3: "word", 4: "character"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
SPACE = "▁"
LONGEST = 4096
"""Characters of a piece that is put together from two others."""


@dataclass(frozen=True)
class SentencePieceModel:
    """pieces: (text, score) by id; types: of pieces; charsmap: the compiled table of the normaliser; dummy_prefix: a
    text begins as if a space stood before it; squeeze: runs of spaces are one; bytes: what is not known is spelt in
    pieces like <0x0A>."""

    pieces: list[tuple[str, float]]
    types: list[int]
    kind: int
    charsmap: bytes
    dummy_prefix: bool
    squeeze: bool
    bytes: bool

    @property
    def unknown(self) -> int:
        return self.types.index(UNKNOWN)

    def ids_of(self, kind: int) -> list[int]:
        return [index for index, found in enumerate(self.types) if found == kind]


def parse(path: Path, content: bytes) -> SentencePieceModel:
    """Raises HandloomError for what is no such model, or none of a kind that is known."""
    if len(content) > SIZE_LIMIT:
        raise HandloomError(f"{path}: larger than {SIZE_LIMIT} bytes, which no SentencePiece model is")
    pieces: list[tuple[str, float]] = []
    types: list[int] = []
    kind, charsmap, flags = UNIGRAM, b"", {3: 1, 4: 1}
    trainer: dict[int, bytes | int | float] = {}
    try:
        for number, value in _fields(content):
            if number == 1:
                piece = dict(_fields(_message(value)))
                pieces.append((_message(piece[1]).decode("utf-8"), float(piece.get(2, 0.0))))
                types.append(int(piece.get(3, 1)))
            elif number == 2:
                trainer = dict(_fields(_message(value)))
                kind = int(trainer.get(3, UNIGRAM))
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
    if trainer.get(24):
        raise HandloomError(f"{path}: a SentencePiece model whose spaces end words, which is not supported")
    return SentencePieceModel(pieces, types, kind, charsmap, bool(flags[3]), bool(flags[4]), bool(trainer.get(35)))


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


def tokenizer(
    path: Path,
    model: SentencePieceModel,
    *,
    pieces: Sequence[tuple[str, float]] | None = None,
    unknown: int | None = None,
    lowercase: bool = False,
    prefix: str = "always",
) -> Tokenizer:
    """A tokenizer that cuts texts as SentencePiece does.

    `pieces`: the model's in the order of the family's ids, if that is another one; `unknown`: the id of what is not
    known there. prefix: where the space before a text is put, in front of everything between two added tokens
    ("always") or the whole text's alone ("first"). Raises HandloomError for models of other kinds than unigram and BPE.
    """
    if model.kind not in (UNIGRAM, BPE):
        raise wrong_kind(path, model, "unigram or BPE")
    pieces, unknown = model.pieces if pieces is None else pieces, model.unknown if unknown is None else unknown
    make = _unigram if model.kind == UNIGRAM else _byte_pairs
    made = Tokenizer(make(path, model, pieces, unknown))
    scheme = prefix if model.dummy_prefix else "never"
    made.normalizer = normalizers.Sequence(_normalizers(model, lowercase, scheme == "always"))
    # Cut into words where no piece reaches over a space: what comes out is the same, and sooner.
    split = not any(SPACE in piece.lstrip(SPACE) or piece.startswith(2 * SPACE) for piece, _ in pieces)
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=split)
    if model.bytes:
        strip = [decoders.Strip(" ", 1, 0)] if model.dummy_prefix else []
        steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
        made.decoder = decoders.Sequence(steps)
    else:
        made.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    own = [model.pieces[index][0] for index in model.ids_of(USER_DEFINED)]
    made.add_tokens([AddedToken(text, normalized=False) for text in own])
    return made


def wrong_kind(path: Path, model: SentencePieceModel, wanted: str) -> HandloomError:
    kind = KINDS.get(model.kind, str(model.kind))
    return HandloomError(f"{path}: a SentencePiece model of the kind {kind}; a {wanted} model belongs here")


def _unigram(path: Path, model: SentencePieceModel, pieces: Sequence[tuple[str, float]], unknown: int) -> models.Model:
    return models.Unigram(list(pieces), unknown, model.bytes)


def _byte_pairs(
    path: Path, model: SentencePieceModel, pieces: Sequence[tuple[str, float]], unknown: int
) -> models.Model:
    vocabulary = {piece: number for number, (piece, _) in enumerate(pieces)}
    if len(vocabulary) != len(pieces):
        raise HandloomError(f"{path}: a piece is there twice, which a BPE model must not have")
    normal = {model.pieces[index][0]: model.pieces[index][1] for index in model.ids_of(NORMAL)}
    return models.BPE(vocab=vocabulary, merges=merges_by_score(path, normal), unk_token=pieces[unknown][0],
                      fuse_unk=True, byte_fallback=model.bytes)  # fmt: skip


def merges_by_score(path: Path, scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, the piece of the highest score first; scores in the order of
    ids, which decides between equal ones. Raises HandloomError for a piece that is too long to be tried."""
    number = {piece: index for index, piece in enumerate(scores)}
    found = []
    for piece, score in scores.items():
        if len(piece) > LONGEST:
            raise HandloomError(f"{path}: the piece {piece[:20]!r}… has {len(piece):,} characters; at most {LONGEST} "
                                "are accepted")
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in number and right in number:
                found.append((-score, number[piece], number[left], number[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _normalizers(model: SentencePieceModel, lowercase: bool, always: bool) -> list[normalizers.Normalizer]:
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if lowercase:
        steps.append(normalizers.Lowercase())
    if model.squeeze:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if always:  # Metaspace puts none before a space that is there, SentencePiece does
        steps.append(normalizers.Replace(Regex(rf"\A[ {SPACE}]"), 2 * SPACE))
    return steps
