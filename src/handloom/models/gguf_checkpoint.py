"""A GGUF file seen as a Hugging Face directory: config.json's values, and tensors under Hugging Face's names.

llama.cpp's converter renames the tensors, and for two kinds of them changes the order of numbers: GPT-2's linear maps
are transposed, and Llama's queries and keys have the pairs that rotary positions turn side by side, where Hugging Face
has them half a head apart. Both are undone here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handloom.errors import HandloomError
from handloom.gguf_file import Entry, GgufFile
from handloom.nn.rotary import RotarySettings, frequencies

F32 = npt.NDArray[np.float32]

MOST = 2**20  # of a width or of heads
ROTARY_DIVISORS = "rope_freqs.weight"  # what Llama 3 divides its frequencies by, written down as a tensor
LLAMA3_LENGTH = 8192  # of the texts that Llama 3 was first trained with


@dataclass(frozen=True)
class Architecture:
    """How an architecture of GGUF stands in Hugging Face's world: which class, which names, which orders."""

    model_type: str
    class_name: str
    config: Callable[[Metadata, GgufFile], dict[str, Any]]
    outside: dict[str, str]  # modules outside the layers
    layers: str  # what Hugging Face calls a list of layers
    inside: dict[str, str]  # modules of a layer
    interleaved: frozenset[str] = frozenset()  # whose rows come in pairs, by head
    transposed: frozenset[str] = frozenset()

    def name(self, found: str) -> str | None:
        """Hugging Face's name of a tensor, None for one that has none."""
        layer = re.fullmatch(r"blk\.(\d{1,5})\.(\w+)\.(weight|bias)", found)
        if layer:
            number, module, part = layer.groups()
            return f"{self.layers}.{number}.{self.inside[module]}.{part}" if module in self.inside else None
        module, _, part = found.rpartition(".")
        return f"{self.outside[module]}.{part}" if module in self.outside else None


@dataclass(frozen=True)
class Metadata:
    """Access to the keys of one architecture; errors name the file and the key."""

    values: Mapping[str, Any]
    architecture: str
    path: Path

    def get(self, key: str, default: Any = None) -> Any:
        """A number, a truth value or a text; f32 becomes the shortest decimal that means it."""
        name = f"{self.architecture}.{key}"
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, np.ndarray):
            raise HandloomError(f"{self.path}: {name} differs between layers, which is not supported")
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def need(self, key: str) -> Any:
        if f"{self.architecture}.{key}" not in self.values:
            raise HandloomError(f"{self.path}: the metadata lacks {self.architecture}.{key}")
        return self.get(key)


def _llama(metadata: Metadata, file: GgufFile) -> dict[str, Any]:
    hidden, heads = metadata.need("embedding_length"), metadata.need("attention.head_count")
    for name, value in (("embedding_length", hidden), ("attention.head_count", heads)):
        if type(value) is not int or not 1 <= value <= MOST:
            called = f"{metadata.architecture}.{name}"
            raise HandloomError(f"{metadata.path}: {called} is {value!r}; it must be from 1 to {MOST:,}")
    head = metadata.get("attention.key_length", hidden // heads if type(heads) is int and heads else None)
    if metadata.get("attention.value_length", head) != head:
        raise HandloomError(f"{metadata.path}: values have another head size than keys, which is not supported")
    if metadata.get("rope.dimension_count", head) != head:
        raise HandloomError(f"{metadata.path}: rotary positions turn a part of a head only, which is not supported")
    bias = "blk.0.attn_q.bias" in file.entries
    values = {
        "hidden_size": hidden,
        "num_hidden_layers": metadata.need("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get("attention.head_count_kv", heads),
        "head_dim": head,
        "intermediate_size": metadata.need("feed_forward_length"),
        "max_position_embeddings": metadata.need("context_length"),
        "rms_norm_eps": metadata.need("attention.layer_norm_rms_epsilon"),
        "rope_theta": metadata.get("rope.freq_base", 10_000.0),
        "hidden_act": "silu",
        "attention_bias": bias,
        "mlp_bias": "blk.0.ffn_up.bias" in file.entries,
        "tie_word_embeddings": "output.weight" not in file.entries,
    }
    if (window := metadata.get("attention.sliding_window")) is not None:
        values["sliding_window"] = window
    if scaling := _rope_scaling(metadata, file, head, values["rope_theta"]):
        values["rope_scaling"] = scaling
    return values


def _rope_scaling(metadata: Metadata, file: GgufFile, size: Any, theta: Any) -> dict[str, Any] | None:
    if ROTARY_DIVISORS in file.entries:
        return _llama3(metadata, file.read_f32(ROTARY_DIVISORS), size, theta)
    kind = metadata.get("rope.scaling.type", "none")
    if kind == "none":
        return None
    if kind not in ("linear", "yarn"):
        raise HandloomError(f"{metadata.path}: the rotary scaling {kind!r} is not supported; linear and yarn are")
    found = {"rope_type": kind, "factor": metadata.need("rope.scaling.factor")}
    if kind == "yarn":
        found["original_max_position_embeddings"] = metadata.need("rope.scaling.original_context_length")
    return found


def _llama3(metadata: Metadata, divisors: F32, size: Any, theta: Any) -> dict[str, Any]:
    """Llama 3's settings from the tensor that they were made into; the file does not hold them otherwise."""
    factor = float(divisors.max(initial=1.0))
    plain = RotarySettings(int(size), float(theta), positions=LLAMA3_LENGTH, factor=factor)
    made = frequencies(plain) / frequencies(replace(plain, kind="llama3"))
    if divisors.shape != made.shape or not np.allclose(divisors, made, rtol=1e-3):
        raise HandloomError(f"{metadata.path}: {ROTARY_DIVISORS} stretches rotary positions in a way that is not "
                            "Llama 3's, which is not supported")
    return {"rope_type": "llama3", "factor": factor, "original_max_position_embeddings": LLAMA3_LENGTH,
            "low_freq_factor": plain.low_freq_factor, "high_freq_factor": plain.high_freq_factor}


def _gpt2(metadata: Metadata, file: GgufFile) -> dict[str, Any]:
    return {
        "n_embd": metadata.need("embedding_length"),
        "n_layer": metadata.need("block_count"),
        "n_head": metadata.need("attention.head_count"),
        "n_inner": metadata.need("feed_forward_length"),
        "n_positions": metadata.need("context_length"),
        "layer_norm_epsilon": metadata.need("attention.layer_norm_epsilon"),
        "tie_word_embeddings": "output.weight" not in file.entries,
    }


_LLAMA = Architecture(
    model_type="llama",
    class_name="LlamaForCausalLM",
    config=_llama,
    outside={"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"},
    layers="model.layers",
    inside={
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    },
    interleaved=frozenset({"attn_q", "attn_k"}),
)  # fmt: skip
_STRAIGHT = replace(_LLAMA, interleaved=frozenset())

ARCHITECTURES: dict[str, Architecture] = {
    "llama": _LLAMA,
    "qwen2": replace(_STRAIGHT, model_type="qwen2", class_name="Qwen2ForCausalLM"),
    "qwen3": replace(_STRAIGHT, model_type="qwen3", class_name="Qwen3ForCausalLM"),
    "gpt2": Architecture(
        model_type="gpt2",
        class_name="GPT2LMHeadModel",
        config=_gpt2,
        outside={"token_embd": "transformer.wte", "position_embd": "transformer.wpe",
                 "output_norm": "transformer.ln_f", "output": "lm_head"},
        layers="transformer.h",
        inside={"attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_norm": "ln_2",
                "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
        transposed=frozenset({"attn_qkv", "attn_output", "ffn_up", "ffn_down"}),
    ),
}


class GgufCheckpoint:
    """`config`: what config.json would hold. `entries`, `read_f32`: tensors by Hugging Face's names and in its orders.

    A tensor that no name is known for keeps its own. Raises HandloomError for an unsound file, an architecture that
    is not known, metadata that is missing and a table of words that the tokenizer's words do not fit in.
    """

    def __init__(self, path: str | Path) -> None:
        self.file = GgufFile(path)
        self.path = self.file.path
        name = self.file.metadata.get("general.architecture")
        if not isinstance(name, str) or name not in ARCHITECTURES:
            raise HandloomError(f"{self.path}: the architecture {name!r} is not supported; known are "
                                f"{', '.join(ARCHITECTURES)}")
        self.architecture = ARCHITECTURES[name]
        self.config = self._config(Metadata(self.file.metadata, name, self.path))
        self._names = {self.architecture.name(found) or found: found for found in self.file.entries
                       if found != ROTARY_DIVISORS}
        self.entries = {name: self._entry(found) for name, found in self._names.items()}

    def read_f32(self, name: str) -> F32:
        found = self._names[name]
        module = self._module(found)
        values = self.file.read_f32(found)
        if module in self.architecture.transposed and values.ndim == 2:
            return np.ascontiguousarray(values.T)
        if module in self.architecture.interleaved:
            heads = self.config["num_attention_heads" if module == "attn_q" else "num_key_value_heads"]
            return _halves(values, heads)
        return values

    def _module(self, found: str) -> str:
        return found.split(".")[2] if found.startswith("blk.") and found.count(".") == 3 else ""

    def _entry(self, found: str) -> Entry:
        entry = self.file.entries[found]
        turned = self._module(found) in self.architecture.transposed
        return replace(entry, shape=tuple(reversed(entry.shape))) if turned else entry

    def _config(self, metadata: Metadata) -> dict[str, Any]:
        words = self.file.entries.get("token_embd.weight")
        if words is None:
            raise HandloomError(f"{self.path}: the tensor token_embd.weight is missing")
        spelt = self.file.metadata.get("tokenizer.ggml.tokens", [])
        if len(spelt) > words.shape[0]:
            raise HandloomError(f"{self.path}: the tokenizer has {len(spelt)} tokens, but token_embd.weight has "
                                f"{words.shape[0]} rows")
        values = {
            "model_type": self.architecture.model_type,
            "architectures": [self.architecture.class_name],
            "vocab_size": words.shape[0],
            **self.architecture.config(metadata, self.file),
            "torch_dtype": "float32",
        }
        if values.get("sliding_window") is not None and values["model_type"] == "llama":
            values.update(model_type="mistral", architectures=["MistralForCausalLM"])
        for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
            number = self.file.metadata.get(f"tokenizer.ggml.{key}_token_id")
            if type(number) is int and number < words.shape[0]:
                values[f"{role}_token_id"] = number
        return values


def _halves(values: F32, heads: Any) -> F32:
    """Rows 0, 1, 2, 3 … of each head, of which two neighbours make a pair, to 0, 2, … 1, 3 …"""
    rows = len(values)
    if type(heads) is not int or heads < 1 or rows % (2 * heads):
        raise HandloomError(f"{rows} rows do not make {heads} heads of pairs")
    pairs = values.reshape(heads, rows // heads // 2, 2, -1)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)
