"""What generation_config.json says: how a model is made to write unless the user says otherwise.

Of a model without one, config.json says so, where its authors wrote these settings when there was no other file. They
mean what they mean in transformers, with two exceptions: words are drawn only where the user asks for it (do_sample,
temperature and their like are not read), and max_length counts for encoder–decoders alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handloom.errors import HandloomError
from handloom.generate.search import Beams
from handloom.models.config import Config, EncoderDecoderConfig, Fields, read_json
from handloom.text.tokenizer import Tokenizer

FILE = "generation_config.json"
# Families whose class in transformers ends every text with a token, where config.json does not say.
FORCED_LAST = {"bart": 2, "marian": 0}
# What changes which words come, and is not built: with the values that change nothing.
UNKNOWN: dict[str, tuple[Any, ...]] = {
    "encoder_no_repeat_ngram_size": (0,), "encoder_repetition_penalty": (1, 1.0), "sequence_bias": (),
    "exponential_decay_length_penalty": (), "guidance_scale": (1, 1.0), "num_beam_groups": (1,),
    "diversity_penalty": (0, 0.0), "force_words_ids": ([],), "constraints": ([],), "penalty_alpha": (0, 0.0),
    "dola_layers": (), "stop_strings": ([], ""), "watermarking_config": (),
}  # fmt: skip


@dataclass(frozen=True)
class Defaults:
    """ends: the tokens that end a text; start: the one that a target begins with, where the file names another than
    config.json; most: new tokens; beams: one is none; sampling: fields of `Sampling`."""

    ends: frozenset[int] = frozenset()
    start: int | None = None
    most: int | None = None
    beams: Beams = field(default_factory=lambda: Beams(1))
    sampling: Mapping[str, Any] = field(default_factory=dict)


def load(folder: Path, config: Config, tokenizer: Tokenizer) -> Defaults:
    """Raises HandloomError for a setting that makes no sense for this model, or that is not supported."""
    path = folder / FILE
    there = path.is_file()
    values = read_json(path) if there else config.source
    fields = Fields(values, str(path) if there else config.path)
    if not there and config.model_type in FORCED_LAST:
        fields = Fields({"forced_eos_token_id": FORCED_LAST[config.model_type], **values}, fields.path)
    for name, harmless in UNKNOWN.items():
        if values.get(name) is not None and values[name] not in harmless:
            raise HandloomError(f"{fields.path}: {name} = {values[name]!r:.60} is not supported")
    size, pairs = config.vocab_size, isinstance(config, EncoderDecoderConfig)
    most = None
    if values.get("max_new_tokens") is not None:
        most = fields.whole("max_new_tokens", high=2**24)
    elif pairs and values.get("max_length") is not None:
        most = max(1, fields.whole("max_length", high=2**24) - 1)
    beams = Beams(fields.whole_or("num_beams", 1, high=1024), _number(fields, "length_penalty", 1.0), _early(fields))
    start = _token(fields, "decoder_start_token_id", size) if there and pairs else None
    return Defaults(_ends(fields, config, tokenizer), start, most, beams, _rules(fields, size))


def _rules(fields: Fields, size: int) -> dict[str, Any]:
    words = fields.values.get("bad_words_ids") or []
    if not isinstance(words, list) or not all(isinstance(word, list) and word for word in words):
        raise fields.wrong("bad_words_ids", "a list of lists of tokens")
    found = {
        "repetition_penalty": fields.positive("repetition_penalty", 1.0),
        "no_repeat_ngram": fields.whole_or("no_repeat_ngram_size", 0, low=0),
        "min_length": fields.whole_or("min_length", 0, low=0, high=2**24),
        "min_new_tokens": fields.whole_or("min_new_tokens", 0, low=0, high=2**24),
        "bad_words": tuple(_checked(fields, "bad_words_ids", word, size) for word in words),
        "suppress": _tokens(fields, "suppress_tokens", size),
        "suppress_first": _tokens(fields, "begin_suppress_tokens", size),
        "force_first": _token(fields, "forced_bos_token_id", size),
        "force_last": _tokens(fields, "forced_eos_token_id", size),
        "renormalize": bool(fields.values.get("renormalize_logits") or False),
    }
    return found


def _early(fields: Fields) -> Any:
    value = fields.values.get("early_stopping")
    if value not in (None, True, False, "never"):
        raise fields.wrong("early_stopping", 'true, false or "never"')
    return value or False


def _number(fields: Fields, name: str, default: float) -> float:
    value = fields.values.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e6 < value < 1e6:
        raise fields.wrong(name, "a number")
    return float(value)


def _token(fields: Fields, name: str, size: int) -> int | None:
    value = fields.values.get(name)
    return None if value is None else _checked(fields, name, [value], size)[0]


def _tokens(fields: Fields, name: str, size: int) -> tuple[int, ...]:
    value = fields.values.get(name)
    return () if value is None else _checked(fields, name, value if isinstance(value, list) else [value], size)


def _checked(fields: Fields, name: str, tokens: list[Any], size: int) -> tuple[int, ...]:
    for token in tokens:
        if type(token) is not int or not 0 <= token < size:
            raise HandloomError(f"{fields.path}: {name} names the token {token!r}; the vocabulary has 0 to {size - 1}")
    return tuple(tokens)


def _ends(fields: Fields, config: Config, tokenizer: Tokenizer) -> frozenset[int]:
    """Those of generation_config.json, else of config.json, else the tokenizer's."""
    for values in (fields.values, config.source):
        said = values.get("eos_token_id")
        ids = said if isinstance(said, list) else [said]
        if found := frozenset(token for token in ids if type(token) is int and 0 <= token < config.vocab_size):
            return found
    name = tokenizer.token_names.get("eos_token")
    token = tokenizer.token_id(name) if name else None
    return frozenset() if token is None else frozenset({token})


def end_of_text(config: Config, tokenizer: Tokenizer) -> int | None:
    """The token that is put behind a text: the configuration's, else the tokenizer's."""
    found = config.source.get("eos_token_id")
    found = found[0] if isinstance(found, list) and found else found
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < tokenizer.size:
        return found
    named = tokenizer.token_names.get("eos_token")
    return tokenizer.sep if named is None else tokenizer.token_id(named)
