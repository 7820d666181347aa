"""A model that does not exist yet, described by a few numbers: the config.json that each family would write of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from handloom.errors import UsageError


@dataclass(frozen=True)
class Shape:
    """context: the longest sequence; intermediate: width of the inner layer, None for what the family usually has;
    key_value_heads: fewer than `heads` where queries share keys, None for as many. Raises UsageError for what is no
    whole number, 1 or more."""

    layers: int = 6
    hidden: int = 384
    heads: int = 6
    context: int = 256
    intermediate: int | None = None
    key_value_heads: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and (isinstance(value, bool) or value != int(value) or value < 1):
                raise UsageError(f"{name} is {value}; it must be a whole number, 1 or more")


#: What each family's config.json calls the parts of a `Shape`, the rates of dropout, and what it fixes besides.
_USUAL = {
    "layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads",
    "context": "max_position_embeddings", "intermediate": "intermediate_size",
}  # fmt: skip
_BERT_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob")
_DECODER = {**_USUAL, "key_value_heads": "num_key_value_heads"}
_SEQUENCES = {"layers": "encoder_layers decoder_layers", "hidden": "d_model",
              "heads": "encoder_attention_heads decoder_attention_heads", "context": "max_position_embeddings",
              "intermediate": "encoder_ffn_dim decoder_ffn_dim"}  # fmt: skip
_T5 = {"layers": "num_layers num_decoder_layers", "hidden": "d_model", "heads": "num_heads", "intermediate": "d_ff",
       "context": "n_positions"}  # fmt: skip


@dataclass(frozen=True)
class _Names:
    parts: Mapping[str, str]
    rates: tuple[str, ...] = ()
    fixed: Mapping[str, Any] | None = None
    inner: float = 4.0  # the inner layer's usual width, in widths of the model
    first: int = 0  # positions that come before a sequence's first
    start: str | None = None  # the role of the token that a decoder begins with
    spread: str | None = None  # what config.json calls the deviation of fresh weights, where it goes with the width


_GATED = _Names(_DECODER, ("attention_dropout",), {"hidden_act": "silu", "rms_norm_eps": 1e-5}, inner=8 / 3)
NAMES: Mapping[str, _Names] = {
    "gpt2": _Names({"layers": "n_layer", "hidden": "n_embd", "heads": "n_head", "context": "n_positions",
                    "intermediate": "n_inner"}, ("resid_pdrop", "embd_pdrop", "attn_pdrop")),
    "llama": _GATED,
    "mistral": _GATED,
    "qwen2": _GATED,
    "qwen3": _GATED,
    "bert": _Names(_USUAL, _BERT_RATES, {"type_vocab_size": 2}),
    "electra": _Names(_USUAL, _BERT_RATES, {"type_vocab_size": 2}),
    "roberta": _Names(_USUAL, _BERT_RATES, {"type_vocab_size": 1}, first=2),
    "xlm-roberta": _Names(_USUAL, _BERT_RATES, {"type_vocab_size": 1}, first=2),
    "mpnet": _Names(_USUAL, _BERT_RATES, first=2),
    "modernbert": _Names(_USUAL, ("attention_dropout", "mlp_dropout", "embedding_dropout")),
    "deberta-v2": _Names(_USUAL, _BERT_RATES, {
        "type_vocab_size": 0, "relative_attention": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm",
        "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
        "max_relative_positions": -1, "layer_norm_eps": 1e-7}),
    "distilbert": _Names({"layers": "n_layers", "hidden": "dim", "heads": "n_heads", "intermediate": "hidden_dim",
                          "context": "max_position_embeddings"}, ("dropout", "attention_dropout")),
    "handloom-rnn": _Names({"layers": "num_layers", "hidden": "hidden_size"}, ("dropout",)),
    "t5": _Names(_T5, ("dropout_rate",), start="pad"),
    "mt5": _Names(_T5, ("dropout_rate",), {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
                  start="pad"),
    "bart": _Names(_SEQUENCES, ("dropout", "attention_dropout", "activation_dropout"), start="eos"),
    "marian": _Names(_SEQUENCES, ("dropout", "attention_dropout", "activation_dropout"),
                     {"scale_embedding": True}, start="pad", spread="init_std"),
}  # fmt: skip


def config_values(model_type: str, shape: Shape, vocab_size: int, special: Mapping[str, int | None],
                  dropout: float = 0.0) -> dict[str, Any]:
    """The config.json of a model of this family and shape. special: ids by role (bos, eos, pad, cls, sep).

    Raises UsageError for a family that is unknown and for a width that the heads do not divide.
    """
    if model_type not in NAMES:
        raise unknown(model_type)
    names = NAMES[model_type]
    if "heads" in names.parts and shape.hidden % shape.heads:
        raise UsageError(f"hidden is {shape.hidden}, which {shape.heads} heads do not divide evenly")
    wanted = {field.name: getattr(shape, field.name) for field in fields(shape)}
    if wanted["intermediate"] is None:
        width = int(shape.hidden * names.inner)
        wanted["intermediate"] = width if names.inner == 4 else -(-width // 64) * 64
    wanted["context"] += names.first
    if wanted["key_value_heads"] is None:
        wanted["key_value_heads"] = shape.heads
    elif "key_value_heads" not in names.parts:
        raise UsageError(f"{model_type} has no heads that share keys: key_value_heads is for {', '.join(_sharing())}")
    values: dict[str, Any] = {"model_type": model_type, "vocab_size": vocab_size}
    for part, keys in names.parts.items():
        values.update(dict.fromkeys(keys.split(), wanted[part]))
    if model_type in ("t5", "mt5", "qwen3"):
        values["d_kv" if model_type != "qwen3" else "head_dim"] = shape.hidden // shape.heads
    values.update(dict.fromkeys(names.rates, dropout))
    values.update({f"{role}_token_id": index for role, index in special.items() if index is not None})
    if names.start is not None and special.get(names.start) is not None:
        values["decoder_start_token_id"] = special[names.start]
    if names.spread is not None:  # branches that begin small: post-norm layers learn faster so
        values[names.spread] = round(0.5 * shape.hidden**-0.5, 6)
    return {**values, **(names.fixed or {})}


def unknown(model_type: str) -> UsageError:
    near = difflib.get_close_matches(model_type, NAMES, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UsageError(f"there is no model type {model_type!r} to begin with{hint} (there are {', '.join(NAMES)})")


def _sharing() -> list[str]:
    return [name for name, names in NAMES.items() if "key_value_heads" in names.parts]
