"""A model's tokenizer: from its folder, over texts and words, and back into a folder that transformers opens."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from handloom.errors import HandloomError
from handloom.text import tokenizer_files as files
from handloom.text import unknown
from handloom.text.encoding import Encoding, Ints
from handloom.text.spans import Word
from handloom.text.unknown import UnknownReport

_HALVES = re.compile("[\ud800-\udfff]")
_HUGE = 10**9  # transformers writes 1e30 where a tokenizer has no limit


class Tokenizer:
    """Texts to tokens, with offsets into the user's own strings.

    `cls`, `sep`, `pad`, `unk`, `mask`: ids of the special tokens, None where the vocabulary has none.
    `max_length`: the longest sequence the tokenizer was made for, None where it does not say.
    """

    def __init__(self, source: files.Source) -> None:
        self._source = source
        self._tokenizer = source.tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        names = source.special
        ids = {role: self._tokenizer.token_to_id(name) for role, name in names.items()}
        self.cls, self.sep, self.pad, self.unk, self.mask = (ids.get(role) for role in files.ROLES)
        self.special_tokens: dict[str, str] = {role: name for role, name in names.items() if ids[role] is not None}
        length = source.config.get("model_max_length")
        self.max_length = int(length) if isinstance(length, (int, float)) and 0 < length < _HUGE else None
        # A byte-level vocabulary spells the space before a word into the word's first token.
        self._spells_spaces = files.pre_tokenizer_types(self._tokenizer) & {"ByteLevel", "Metaspace"} != set()
        self._marks_words = files.marks_every_word(self._tokenizer)

    @classmethod
    def load(cls, folder: str | Path, lowercase: bool | None = None) -> Tokenizer:
        """From `source.spm` and `target.spm` (Marian), else `tokenizer.json`, else `vocab.txt` (BERT's WordPiece), else
        `vocab.json` and `merges.txt` (byte-level), else a SentencePiece model under a name that families have;
        from the metadata of a GGUF file, where the path is one or the folder holds nothing else.

        Padding and truncation written into the file are overruled: both are off. `lowercase` overrules what the
        folder says. Raises HandloomError for a folder without a tokenizer and for files that cannot be read.
        """
        return cls(files.load(Path(folder), lowercase))

    @property
    def roles(self) -> dict[str, int | None]:
        """Ids of what is special, as a config.json names them."""
        begin = self.sep if self.cls is None else self.cls
        return {"bos": begin, "eos": self.sep, "pad": self.pad, "cls": self.cls, "sep": self.sep}

    @property
    def target(self) -> Tokenizer:
        """The tokenizer of what the model writes; only Marian's is another one than that of what it reads."""
        return self if self._source.target is None else Tokenizer(self._source.target)

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that turns a conversation into a text, if the folder has one: that of
        chat_template.jinja, or the one in tokenizer_config.json (of several the one named "default")."""
        found = self._source.originals.get("chat_template.jinja")
        if found is not None:
            return found.decode("utf-8", "replace")
        said = self._source.config.get("chat_template")
        if isinstance(said, list):
            named = {entry.get("name"): entry.get("template") for entry in said if isinstance(entry, dict)}
            said = named.get("default")
        return said if isinstance(said, str) else None

    def adopt_chat_template(self, template: str) -> None:
        """For a folder without one: what is saved has it."""
        self._source.originals["chat_template.jinja"] = template.encode()

    @property
    def token_names(self) -> dict[str, str]:
        """What tokenizer_config.json calls its special tokens, as templates do: bos_token, eos_token, …"""
        found = {}
        for name, value in self._source.config.items():
            value = value.get("content") if isinstance(value, dict) else value
            if name.endswith("_token") and isinstance(value, str):
                found[name] = value
        return found

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it; None where it has none."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    @property
    def size(self) -> int:
        """Number of ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def __len__(self) -> int:
        return self.size

    def token(self, index: int) -> str:
        """The vocabulary's spelling of an id."""
        found = self._tokenizer.id_to_token(index)
        if found is None:
            raise HandloomError(f"The vocabulary has no token {index}; it has {self.size}.")
        return str(found)

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """The text of tokens; special tokens are left out unless `special`. Bytes that are no whole character become
        U+FFFD."""
        return str(self._tokenizer.decode([int(token) for token in ids], skip_special_tokens=not special))

    def ids(self, text: str, *, frame: bool = True) -> Ints:
        """The token ids of a text, i32[n]; without `frame`, those that the text itself spells and no others."""
        return np.asarray(self._tokenizer.encode(_utf8(text), add_special_tokens=frame).ids, np.int32)

    def spelling(self, index: int) -> str | None:
        """The vocabulary's spelling of an id; None for a number that it leaves out."""
        found: str | None = self._tokenizer.id_to_token(index)
        return found

    @property
    def special_ids(self) -> list[int]:
        """The ids that stand for no text, in order."""
        added = self._tokenizer.get_added_tokens_decoder()
        return sorted(index for index, token in added.items() if token.special)

    @property
    def added_tokens(self) -> dict[int, str]:
        """The texts of tokens that are found whole, special ones among them, by id."""
        return {index: token.content for index, token in self._tokenizer.get_added_tokens_decoder().items()}

    @property
    def falls_back_to_bytes(self) -> bool:
        """Whether tokens such as `<0x0A>` are bytes of what has no other token."""
        return self._tokenizer.token_to_id("<0x0A>") is not None

    @property
    def by_bytes(self) -> bool:
        """Whether the vocabulary spells bytes, in GPT-2's letters."""
        return isinstance(self._tokenizer.decoder, tokenizers.decoders.ByteLevel)

    @property
    def identity(self) -> str:
        """SHA-256 of all that decides which ids a text gets."""
        return hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()

    def ids_batch(self, texts: Sequence[str]) -> list[Ints]:
        """The ids of many texts, i32 each, without special tokens: all that is wanted of a large text."""
        found = self._tokenizer.encode_batch_fast([_utf8(text) for text in texts], add_special_tokens=False)
        return [np.asarray(raw.ids, np.int32) for raw in found]

    def ids_with_ends(self, texts: Sequence[str]) -> list[tuple[Ints, Ints]]:
        """The ids of many texts, without special tokens of the tokenizer's own, and the character where each ends."""
        found = self._tokenizer.encode_batch([_utf8(text) for text in texts], add_special_tokens=False)
        ends = [np.asarray([end for _, end in raw.offsets], np.int32) for raw in found]
        return [(np.asarray(raw.ids, np.int32), end) for raw, end in zip(found, ends, strict=True)]

    def word(self, index: int) -> str:
        """An id as it reads in a text: without the marks of a space or of a word's inside."""
        spelled = self.token(index)
        return spelled[2:] if spelled.startswith("##") else self.decode([index], special=True).strip() or spelled

    def encode(self, text: str, pair: str | None = None) -> Encoding:
        """One text, or a text and its pair, with special tokens."""
        return self.encode_batch([text], None if pair is None else [pair])[0]

    def encode_batch(self, texts: Sequence[str], pairs: Sequence[str | None] | None = None) -> list[Encoding]:
        """Many texts at once, on all cores; `pairs` holds one pair, or None, for each."""
        if isinstance(texts, str):
            raise HandloomError("encode_batch takes a list of texts; for one text there is encode.")
        if pairs is None:
            inputs: list[Any] = [_utf8(text) for text in texts]
            second: Sequence[str | None] = [None] * len(inputs)
        else:
            second = pairs
            inputs = [_utf8(a) if b is None else (_utf8(a), _utf8(b)) for a, b in zip(texts, pairs, strict=True)]
        found = self._tokenizer.encode_batch(inputs)
        return [self._encoding(raw, a, b) for raw, a, b in zip(found, texts, second, strict=True)]

    def encode_words_batch(self, texts: Sequence[str], words: Sequence[Sequence[Word]]) -> list[Encoding]:
        """Many texts already split into words. `Encoding.words` counts within the words given.

        A word of which nothing is left (control characters only) has no token; the others keep their numbers.
        """
        inputs, shifts = [], []
        for text, places in zip(texts, words, strict=True):
            pieces = [_utf8(text[start:end]) for start, end in places]
            # One leading space where the vocabulary wants it: at the text's beginning and after a space.
            shift = [0] * len(places)
            if self._spells_spaces and not self._marks_words:
                shift = [int(start == 0 or text[start - 1].isspace()) for start, _ in places]
                pieces = [" " + piece if spaced else piece for piece, spaced in zip(pieces, shift, strict=True)]
            inputs.append(pieces)
            shifts.append(np.asarray([start for start, _ in places], np.int32) - np.asarray(shift, np.int32))
        found = self._tokenizer.encode_batch(inputs, is_pretokenized=True)
        result = []
        for raw, text, places, moved in zip(found, texts, words, shifts, strict=True):
            coded = self._encoding(raw, None, None)
            own = np.flatnonzero(coded.sequence == 0)
            if own.size:
                word = coded.words[own]
                limits = np.asarray(places, np.int32)[word]
                offsets = coded.offsets[own] + moved[word][:, None]
                coded.offsets[own] = np.clip(offsets, limits[:, :1], limits[:, 1:])
                self._trim(coded, text, None)
            result.append(coded)
        return result

    def unknown_report(self, texts: Sequence[str], encodings: Sequence[Encoding], warn: bool = True) -> UnknownReport:
        """How much of the texts is unknown; more than 5 % is also a Python warning."""
        tokens = sum(int((coded.sequence == 0).sum()) for coded in encodings)
        pieces: list[str] = []
        if self.unk is not None:
            for text, coded in zip(texts, encodings, strict=True):
                if len(lost := np.flatnonzero((coded.ids == self.unk) & (coded.sequence == 0))):
                    pieces += [text[start:end] for start, end in coded.offsets[lost].tolist()]
        found = unknown.report(tokens, pieces, self.knows)
        if warn and found.message:
            unknown.warn(found.message)
        return found

    def check_known(self, texts: Sequence[str]) -> None:
        """A Python warning if more than 5 % of the tokens of the first 5,000 texts are unknown."""
        if some := list(texts[:5000]):
            self.unknown_report(some, self.encode_batch(some))

    def knows(self, character: str) -> bool:
        """Whether the vocabulary can spell a character, alone or inside of a word."""
        try:
            ids = self._tokenizer.encode_batch([_utf8(character), "a" + _utf8(character)], add_special_tokens=False)
        except (TypeError, ValueError):
            return False
        return any(self.unk not in coded.ids for coded in ids)

    def save(self, folder: str | Path) -> None:
        """Writes what transformers' AutoTokenizer opens; files that came from a folder and still hold are copied."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        kept = dict(self._source.originals)
        if not {"tokenizer.json", "source.spm"} & kept.keys():
            kept["tokenizer.json"] = (self._tokenizer.to_str(pretty=True) + "\n").encode()
        if "tokenizer_config.json" not in kept:
            config = {**self._source.config, **{f"{role}_token": name for role, name in self.special_tokens.items()}}
            kept["tokenizer_config.json"] = _json(config)
        if "special_tokens_map.json" not in kept:
            kept["special_tokens_map.json"] = _json(
                {f"{role}_token": name for role, name in self.special_tokens.items()}
            )
        for name, content in kept.items():
            (target / name).write_bytes(content)

    def _encoding(self, raw: tokenizers.Encoding, text: str | None, pair: str | None) -> Encoding:
        sequence: Ints = np.asarray([-1 if part is None else part for part in raw.sequence_ids], np.int32)
        coded = Encoding(
            np.asarray(raw.ids, np.int32),
            np.asarray(raw.type_ids, np.int32),
            np.asarray(raw.offsets, np.int32).reshape(-1, 2),
            sequence < 0,
            np.asarray([-1 if word is None else word for word in raw.word_ids], np.int32),
            sequence,
        )
        if text is not None:
            self._trim(coded, text, pair)
        return coded

    def _trim(self, coded: Encoding, text: str, pair: str | None) -> None:
        """A token that spells the space before its word does not own that space."""
        if not self._spells_spaces:
            return
        strings = (text, pair or "")
        for index, (start, end) in enumerate(coded.offsets.tolist()):
            string = strings[max(int(coded.sequence[index]), 0)]
            while start < end and string[start].isspace():
                start += 1
            coded.offsets[index, 0] = start


def _utf8(text: str) -> str:
    """Half surrogates, which no UTF-8 can hold, become U+FFFD; the length stays."""
    if not isinstance(text, str):
        raise HandloomError(f"A text must be a string, not {type(text).__name__}: {text!r:.80}")
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
