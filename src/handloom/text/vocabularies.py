"""Tokenizers learnt from text: BPE, WordPiece, Unigram and characters, by the `tokenizers` library.

What is special in a vocabulary depends on what the model is taught (`STYLES`), how text is cut on the kind (`KINDS`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from handloom.errors import HandloomError, UsageError
from handloom.text import tokenizer
from handloom.text.tokenizer_files import Source

SENTINELS = 100


@dataclass(frozen=True)
class Style:
    """Special tokens. first: those with the first ids, in order; roles: what transformers calls them; last: those
    behind the vocabulary; frame: what stands before and after a text ("" for nothing)."""

    first: tuple[str, ...]
    roles: Mapping[str, str]
    last: tuple[str, ...] = ()
    frame: tuple[str, str] = ("", "")


_BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_BART = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
STYLES: Mapping[str, Style] = {
    "gpt": Style(("<|endoftext|>", "<unk>"),
                 {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "pad": "<|endoftext|>", "unk": "<unk>"}),
    "bert": Style(tuple(_BERT.values()), _BERT, frame=("[CLS]", "[SEP]")),
    "bart": Style(("<s>", "<pad>", "</s>", "<unk>", "<mask>"), _BART, frame=("<s>", "</s>")),
    "marian": Style(("<pad>", "</s>", "<unk>"), {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}, frame=("", "</s>")),
    "t5": Style(("<pad>", "</s>", "<unk>"), {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"},
                tuple(f"<extra_id_{number}>" for number in reversed(range(SENTINELS))), ("", "</s>")),
}  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """A way to cut text: makes (untrained tokenizer, trainer) for (size, special tokens, name of the unknown token)."""

    make: Callable[[int, list[str], str], tuple[Tokenizer, Any]]
    size: int
    config: Mapping[str, Any] = field(default_factory=dict)


def _bpe(size: int, special: list[str], unknown: str) -> tuple[Tokenizer, Any]:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return made, trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )


def _word_piece(size: int, special: list[str], unknown: str, lowercase: bool = False) -> tuple[Tokenizer, Any]:
    made = Tokenizer(models.WordPiece(unk_token=unknown, max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    return made, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)


def _unigram(size: int, special: list[str], unknown: str) -> tuple[Tokenizer, Any]:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    lines = pre_tokenizers.Split("\n", "isolated")  # no token reaches over the end of a line
    made.pre_tokenizer = pre_tokenizers.Sequence([lines, pre_tokenizers.Metaspace(prepend_scheme="first")])
    made.decoder = decoders.Metaspace()
    return made, trainers.UnigramTrainer(
        vocab_size=size, special_tokens=special, unk_token=unknown, show_progress=False
    )


def _characters(size: int, special: list[str], unknown: str) -> tuple[Tokenizer, Any]:
    return Tokenizer(models.BPE()), None


KINDS: Mapping[str, _Kind] = {
    "bpe": _Kind(_bpe, 32_000),
    "wordpiece": _Kind(_word_piece, 30_000, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
    "unigram": _Kind(_unigram, 32_000),
    "character": _Kind(_characters, 32_000),
}


def learn(kind: str, texts: Iterable[str], style: str, size: int | None = None) -> tokenizer.Tokenizer:
    """A tokenizer whose vocabulary has at most `size` tokens (by default as many as the kind usually has).

    texts: pieces of text, read once. Raises UsageError for an unknown kind or a size too small for what must be in it,
    HandloomError if there is no text.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no kind of tokenizer {kind!r}; there are {', '.join(KINDS)}")
    chosen, special = KINDS[kind], STYLES[style]
    first = [name for name in special.first if not (style == "gpt" and kind == "bpe" and name == "<unk>")]
    roles = {role: name for role, name in special.roles.items() if name in first}
    limit = chosen.size if size is None else size
    least = len(first) + len(special.last) + (256 if kind == "bpe" else 1)
    if limit < least:
        raise UsageError(f"the vocabulary's size is {limit}; a {kind} vocabulary for this model needs {least} or more")
    made, trainer = chosen.make(limit - len(special.last), first, roles.get("unk", ""))
    seen = _Watched(texts)
    if trainer is None:
        made = _of_characters(seen, first, roles["unk"], limit - len(special.last))
    else:
        try:
            made.train_from_iterator(seen, trainer)
        except BaseException as problem:  # where a vocabulary cannot be made the library raises anything, or panics
            if isinstance(problem, (KeyboardInterrupt, HandloomError)):
                raise
            said = f"no {kind} vocabulary of {limit} tokens could be learnt from this text"
            raise HandloomError(f"{said}: {problem}") from None
    if not seen.any:
        raise HandloomError("there is no text to learn a vocabulary from")
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (*first, *special.last)])
    _frame(made, special.frame)
    made = Tokenizer.from_str(made.to_str())  # its scores are then those that a file holds
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", **chosen.config,
        **{f"{role}_token": name for role, name in roles.items()},
        **({"additional_special_tokens": list(reversed(special.last))} if special.last else {}),
    }  # fmt: skip
    known = {role: name for role, name in roles.items() if role in ("cls", "sep", "pad", "unk", "mask")}
    if "eos" in roles:
        known.setdefault("sep", roles["eos"])
    return tokenizer.Tokenizer(Source(made, config, known))


class _Watched:
    """An iterable that remembers whether it gave any text."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts, self.any = texts, False

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.any = self.any or bool(text.strip())
            yield text


def _of_characters(texts: Iterable[str], special: list[str], unknown: str, size: int) -> Tokenizer:
    """Every character a token, the most frequent ones where there are too many. BPE without merges does it fastest."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    kept = sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[: size - len(special)])
    vocabulary = {token: number for number, token in enumerate([*special, *kept])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=unknown))
    made.decoder = decoders.Fuse()
    return made


def _frame(made: Tokenizer, frame: tuple[str, str]) -> None:
    before, after = frame
    used = [(name, made.token_to_id(name)) for name in dict.fromkeys((before, after)) if name]
    if used:
        one = f"{before} $A {after}".strip()
        two = f"{one} $B:0 {after}:0" if not before.startswith("[") else f"{one} $B:1 {after}:1"
        made.post_processor = processors.TemplateProcessing(single=one, pair=two, special_tokens=used)
