"""The tokenizer in a GGUF file's metadata, as a Hugging Face one: `tokenizer.ggml.model` says of which kind it is.

`gpt2`: merges of bytes, behind a way to cut a text into words that `tokenizer.ggml.pre` names. `llama`: SentencePiece's
merges by score, with single bytes for what has no token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from handloom.errors import HandloomError
from handloom.gguf_file import GgufFile
from handloom.text.sentencepiece_file import merges_by_score

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4  # of tokenizer.ggml.token_type
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"

# How a text is cut into words, by the name in `tokenizer.ggml.pre`: a pattern, None for GPT-2's own.
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES
)
WORDS: dict[str, str | None] = {
    "gpt-2": None, "smollm": None, "llama-bpe": LLAMA3, "llama3": LLAMA3, "llama-v3": LLAMA3, "qwen2": QWEN2,
    "deepseek-r1-qwen": QWEN2, "tekken": TEKKEN,
}  # fmt: skip
SINGLE_DIGITS = frozenset({"smollm"})
WHOLE_WORDS_FIRST = frozenset({"llama-bpe", "llama3", "llama-v3", "tekken"})  # a word in the vocabulary is not merged
COMPOSED = frozenset({"qwen2", "deepseek-r1-qwen"})  # Unicode's form C


def load(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer, and what tokenizer_config.json would say: special tokens by role, chat template, length.

    Raises HandloomError for a file without a tokenizer, of a kind or with a way to cut words that is not known, with
    merges or special tokens that are not in its vocabulary.
    """
    metadata = GgufFile(path).metadata
    kind = metadata.get("tokenizer.ggml.model")
    if not isinstance(kind, str) or kind not in KINDS:
        raise HandloomError(f"{path}: tokenizer.ggml.model is {kind!r}; known are {', '.join(KINDS)}")
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise HandloomError(f"{path}: tokenizer.ggml.tokens is missing")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        twice = next(token for number, token in enumerate(tokens) if vocabulary[token] != number)
        raise HandloomError(f"{path}: the token {twice!r} is twice in tokenizer.ggml.tokens")
    tokenizer = KINDS[kind](metadata, vocabulary, path)
    special = _special(metadata, tokens, path)
    _add_tokens(tokenizer, metadata, tokens, path)
    _frame(tokenizer, metadata, special, vocabulary, kind)
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    if isinstance(template := metadata.get("tokenizer.chat_template"), str):
        config["chat_template"] = template
    length = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    if type(length) is int:
        config["model_max_length"] = length
    return tokenizer, {**config, "clean_up_tokenization_spaces": False}


def _byte_level(metadata: Mapping[str, Any], vocabulary: dict[str, int], path: Path) -> Tokenizer:
    words = metadata.get("tokenizer.ggml.pre", "gpt-2")
    if words not in WORDS:
        raise HandloomError(f"{path}: tokenizer.ggml.pre is {words!r}, a way to cut words that is not known; known are "
                            f"{', '.join(WORDS)}")
    merges = _merges(metadata.get("tokenizer.ggml.merges"), vocabulary, path)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=words in WHOLE_WORDS_FIRST))
    pattern = WORDS[words]
    cuts: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if words in SINGLE_DIGITS else []
    if pattern is not None:
        cuts.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
    cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.decoder = decoders.ByteLevel()
    if words in COMPOSED:
        tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def _merges(found: Any, vocabulary: dict[str, int], path: Path) -> list[tuple[str, str]]:
    if not isinstance(found, list):
        raise HandloomError(f"{path}: tokenizer.ggml.merges is missing")
    merges = []
    for number, line in enumerate(found):
        left, _, right = line.partition(" ")
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise HandloomError(f"{path}: merge {number} of tokenizer.ggml.merges, {line!r:.60}, is not two tokens "
                                "that join to a third")
        merges.append((left, right))
    return merges


def _sentence_piece(metadata: Mapping[str, Any], vocabulary: dict[str, int], path: Path) -> Tokenizer:
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, np.ndarray) or len(scores) != len(vocabulary):
        raise HandloomError(f"{path}: tokenizer.ggml.scores must hold a number for each of {len(vocabulary)} tokens")
    kinds = _kinds(metadata, len(vocabulary), path)
    unknown = next((token for token, kind in zip(vocabulary, kinds, strict=True) if kind == UNKNOWN), None)
    merges = merges_by_score(path, dict(zip(vocabulary, map(float, scores), strict=True)))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True,
                                     byte_fallback=True))
    spaced = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    tokenizer.normalizer = normalizers.Sequence(
        [*([normalizers.Prepend("▁")] if spaced else []), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         *([decoders.Strip(" ", 1, 0)] if spaced else [])]
    )  # fmt: skip
    return tokenizer


def _kinds(metadata: Mapping[str, Any], count: int, path: Path) -> list[int]:
    kinds = metadata.get("tokenizer.ggml.token_type")
    if kinds is None:
        return [1] * count
    if not isinstance(kinds, np.ndarray) or len(kinds) != count:
        raise HandloomError(f"{path}: tokenizer.ggml.token_type must hold a number for each of {count} tokens")
    return [int(kind) for kind in kinds]


def _add_tokens(tokenizer: Tokenizer, metadata: Mapping[str, Any], tokens: list[str], path: Path) -> None:
    """Control tokens and those that users defined are found whole, whatever stands around them."""
    kinds = _kinds(metadata, len(tokens), path)
    of = {kind: [AddedToken(token, normalized=False, special=kind != USER_DEFINED)
                 for token, own in zip(tokens, kinds, strict=True) if own == kind]
          for kind in (UNKNOWN, CONTROL, USER_DEFINED)}
    tokenizer.add_special_tokens([*of[UNKNOWN], *of[CONTROL]])
    tokenizer.add_tokens(of[USER_DEFINED])


def _special(metadata: Mapping[str, Any], tokens: list[str], path: Path) -> dict[str, str]:
    """`bos_token` and its like, by the numbers that the metadata gives."""
    special = {}
    for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        number = metadata.get(name := f"tokenizer.ggml.{key}_token_id")
        if number is None:
            continue
        if type(number) is not int or not 0 <= number < len(tokens):
            raise HandloomError(f"{path}: {name} is {number!r}, but there are {len(tokens)} tokens")
        special[f"{role}_token"] = tokens[number]
    return special


def _frame(tokenizer: Tokenizer, metadata: Mapping[str, Any], special: dict[str, str], vocabulary: dict[str, int],
           kind: str) -> None:
    """The tokens that begin and end a text, where the metadata asks for them; SentencePiece's begin one by default."""
    begins = metadata.get("tokenizer.ggml.add_bos_token", kind == "llama") and "bos_token" in special
    ends = metadata.get("tokenizer.ggml.add_eos_token", False) and "eos_token" in special
    before = [special["bos_token"]] if begins else []
    after = [special["eos_token"]] if ends else []
    if before or after:
        single = [*before, "$A", *after]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(single), pair=" ".join([*single, *(f"{part}:1" for part in [*before, "$B", *after])]),
            special_tokens=[(token, vocabulary[token]) for token in {*before, *after}],
        )  # fmt: skip
    elif kind == "gpt2":
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)


KINDS: dict[str, Callable[[Mapping[str, Any], dict[str, int], Path], Tokenizer]] = {
    "gpt2": _byte_level,
    "llama": _sentence_piece,
}
