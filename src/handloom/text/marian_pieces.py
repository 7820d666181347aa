"""Marian's tokenizer: a SentencePiece model cuts the text, and a vocabulary of its own gives the pieces their ids.

Sources and targets are cut by models of their own; the vocabulary is one for both, or one for each. A text may begin
with the code of the language that is wanted, `>>fra<<`, which is a word of the vocabulary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from handloom.errors import HandloomError
from handloom.text import sentencepiece_file
from handloom.text.sentencepiece_file import SPACE, SentencePieceModel

SOURCE, TARGET, WORDS, TARGET_WORDS = "source.spm", "target.spm", "vocab.json", "target_vocab.json"
HIDDEN = "\U0010ffff\0"  # how names begin that stand in no text
SURFACE = " ⁇ "  # how SentencePiece writes the unknown piece
LISTS = ("additional_special_tokens", "extra_special_tokens")
_CODE = re.compile(r">>.*?<<", re.DOTALL)
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Coded:
    """What `tokenizers.Encoding` says of a text."""

    tokens: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    offsets: list[tuple[int, int]] = field(default_factory=list)
    sequence_ids: list[int | None] = field(default_factory=list)
    word_ids: list[int | None] = field(default_factory=list)

    @property
    def type_ids(self) -> list[int]:
        return [0] * len(self.ids)

    def add(self, token: str, index: int, place: tuple[int, int], sequence: int | None, word: int | None) -> None:
        for values, value in zip((self.tokens, self.ids, self.offsets, self.sequence_ids, self.word_ids),
                                 (token, index, place, sequence, word), strict=True):  # fmt: skip
            values.append(value)  # type: ignore[attr-defined]


class MarianPieces:
    """Sources' or targets' side, with the methods of `tokenizers.Tokenizer` that we use.

    cut: finds the pieces; vocabulary: token → id; special: tokens that are found whole in a text and left out of what
    is decoded, the unknown one and the one that ends a text among them; types: of the pieces of the model that spells.
    """

    def __init__(
        self, cut: Tokenizer, vocabulary: Mapping[str, int], special: Sequence[str], unknown: str, end: str,
        types: Mapping[str, int],
    ) -> None:  # fmt: skip
        self._cut, self._vocabulary, self._special = cut, vocabulary, tuple(special)
        self._unknown, self._end, self._types = vocabulary[unknown], vocabulary[end], types
        self._spelt = {index: token for token, index in vocabulary.items()}
        longest_first = sorted(special, key=len, reverse=True)
        self._whole = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        self.model, self.normalizer, self.post_processor = cut.model, cut.normalizer, None
        self.pre_tokenizer, self.decoder = cut.pre_tokenizer, cut.decoder

    def no_padding(self) -> None:
        """There is none."""

    def no_truncation(self) -> None:
        """There is none."""

    def token_to_id(self, token: str) -> int | None:
        return self._vocabulary.get(token)

    def id_to_token(self, index: int) -> str | None:
        return self._spelt.get(index)

    def get_vocab_size(self, with_added_tokens: bool = True) -> int:
        return max(self._spelt) + 1

    def get_added_tokens_decoder(self) -> dict[int, AddedToken]:
        return {self._vocabulary[token]: AddedToken(token, special=True) for token in self._special}

    def to_str(self, pretty: bool = False) -> str:
        return json.dumps([self._cut.to_str(), dict(self._vocabulary), self._special])

    def encode(self, text: str | tuple[str, str], add_special_tokens: bool = True) -> Coded:
        """A text, or a pair of them, one behind the other."""
        coded = Coded()
        for number, part in enumerate((text,) if isinstance(text, str) else text):
            self._read(part, number, coded)
        if add_special_tokens:
            coded.add(self._spelt[self._end], self._end, (0, 0), None, None)
        return coded

    def encode_batch(
        self, texts: Sequence[str | tuple[str, str]], add_special_tokens: bool = True, is_pretokenized: bool = False
    ) -> list[Coded]:
        if is_pretokenized:
            raise HandloomError("Marian's tokenizer reads whole texts, and none that are split into words")
        return [self.encode(text, add_special_tokens) for text in texts]

    encode_batch_fast = encode_batch

    def _read(self, text: str, number: int, coded: Coded) -> None:
        at = 0
        for part in self._whole.split(text):
            if part in self._special:
                coded.add(part, self._vocabulary[part], (at, at + len(part)), number, None)
            elif part:
                code = _CODE.match(part)
                begin = code.end() if code else 0
                if code:
                    coded.add(code[0], self._id(code[0]), (at, at + begin), number, None)
                found = self._cut.encode(part[begin:], add_special_tokens=False)
                for token, (start, end), word in zip(found.tokens, found.offsets, found.word_ids, strict=True):
                    coded.add(token, self._id(token), (at + begin + start, at + begin + end), number, word)
            at += len(part)

    def _id(self, token: str) -> int:
        return self._vocabulary.get(token, self._unknown)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        tokens = [self._spelt.get(index, self._spelt[self._unknown]) for index in ids]
        written, run = "", list[str]()
        for token in tokens:
            if token not in self._special:
                run.append(token)
            elif not skip_special_tokens:
                written, run = written + "".join(self._words(run)) + token + " ", []
        return (written + "".join(self._words(run))).replace(SPACE, " ").strip()

    def _words(self, tokens: Sequence[str]) -> Iterator[str]:
        """As SentencePiece writes pieces: control pieces are nothing, and pieces of bytes are letters together."""
        begun, held = False, bytearray()
        for token in tokens:
            kind = self._types.get(token)
            if kind == sentencepiece_file.BYTE and _BYTE.fullmatch(token):
                held.append(int(token[3:5], 16))
                begun = True
                continue
            if held:
                yield _letters(held)
                held.clear()
            if kind == sentencepiece_file.UNKNOWN:
                token = SURFACE
            elif kind == sentencepiece_file.CONTROL:
                continue
            elif kind is not None and not begun:
                token = token.removeprefix(SPACE)
            begun = begun or bool(token)
            yield token
        yield _letters(held)


def _letters(content: bytearray) -> str:
    """Every byte that belongs to no letter is one U+FFFD."""
    return re.sub("[\udc80-\udcff]", "\ufffd", content.decode("utf-8", "surrogateescape"))


def load(
    folder: Path, originals: Mapping[str, bytes], config: Mapping[str, Any], objects: Mapping[str, Mapping[str, Any]]
) -> tuple[MarianPieces, MarianPieces]:
    """The sides of sources and of targets. objects: what the vocabularies' files hold.

    Raises HandloomError where a file is missing or broken, and where a vocabulary lacks a token that is needed.
    """
    separate = bool(config.get("separate_vocabs", False))
    for name in (SOURCE, TARGET, WORDS, *([TARGET_WORDS] if separate else [])):
        if name not in originals:
            raise HandloomError(f"{folder}: lacks {name}; Marian's tokenizer consists of {SOURCE}, {TARGET} and {WORDS}"
                                + (f", and with separate_vocabs of {TARGET_WORDS}" if separate else ""))
    models = {name: sentencepiece_file.parse(folder / name, originals[name]) for name in (SOURCE, TARGET)}
    words = {name: _vocabulary(folder / name, objects[name]) for name in objects}
    sides = []
    for model, name in ((SOURCE, WORDS), (TARGET, TARGET_WORDS if separate else WORDS)):
        # transformers spells the words of a shared vocabulary by the sources' model
        speller = models[model if separate else SOURCE]
        sides.append(_side(folder, model, models[model], name, words[name], config, speller))
    return sides[0], sides[1]


def _side(
    folder: Path, file: str, model: SentencePieceModel, name: str, vocabulary: Mapping[str, int],
    config: Mapping[str, Any], speller: SentencePieceModel,
) -> MarianPieces:  # fmt: skip
    roles = {}
    for role, usual in (("unk", "<unk>"), ("eos", "</s>"), ("pad", "<pad>")):
        value = config.get(f"{role}_token", usual)
        token = value.get("content") if isinstance(value, dict) else value
        if not isinstance(token, str) or token not in vocabulary:
            raise HandloomError(f"{folder / name}: lacks {token!r}, the {role}_token of tokenizer_config.json")
        roles[role] = token
    special = dict.fromkeys(roles.values())
    for key in LISTS:
        for value in config.get(key) or ():
            token = value.get("content") if isinstance(value, dict) else value
            if not isinstance(token, str) or token not in vocabulary:
                raise HandloomError(f"{folder / name}: lacks {token!r}, one of the {key} of tokenizer_config.json")
            special[token] = None
    if model.kind != sentencepiece_file.UNIGRAM:  # what BPE does not know, it does not say
        raise sentencepiece_file.wrong_kind(folder / file, model, "unigram")
    cut = sentencepiece_file.tokenizer(folder / file, _matched(model))
    types = {text: kind for (text, _), kind in zip(speller.pieces, speller.types, strict=True)}
    return MarianPieces(cut, vocabulary, list(special), roles["unk"], roles["eos"], types)


def _matched(model: SentencePieceModel) -> SentencePieceModel:
    """The model with names for its control pieces that stand in no text: SentencePiece does not find them there."""
    hidden = {sentencepiece_file.UNKNOWN, sentencepiece_file.CONTROL, sentencepiece_file.UNUSED}
    pieces = [(f"{HIDDEN}{index}" if kind in hidden else text, score)
              for index, ((text, score), kind) in enumerate(zip(model.pieces, model.types, strict=True))]
    return replace(model, pieces=pieces)


def _vocabulary(path: Path, found: Mapping[str, Any]) -> dict[str, int]:
    vocabulary = {token: index for token, index in found.items() if type(index) is int and 0 <= index < 2**24}
    if len(vocabulary) < len(found) or len(set(vocabulary.values())) < len(vocabulary) or not vocabulary:
        raise HandloomError(f"{path}: a vocabulary gives every token a number of its own, from 0 on")
    return vocabulary
