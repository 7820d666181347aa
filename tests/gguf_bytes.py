"""Writes GGUF files byte by byte, so that tests can make them lie; and the tiny models in them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

Tensors = Mapping[str, np.ndarray[Any, Any]]
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5

LLAMA: dict[str, Any] = {
    "general.architecture": "llama", "llama.block_count": 2, "llama.context_length": 16, "llama.embedding_length": 24,
    "llama.feed_forward_length": 40, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-6, "llama.rope.freq_base": 10_000.0, "llama.rope.dimension_count": 6,
}  # fmt: skip


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_bytes(value: Any) -> bytes:
    """A type and the value in it."""
    if isinstance(value, bytes):  # made by hand
        return value
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    if isinstance(value, float):
        return struct.pack("<If", F32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + text(value)
    if isinstance(value, np.ndarray):
        kind = {"f": F32, "i": I32}[value.dtype.kind]
        return struct.pack("<IIQ", ARRAY, kind, len(value)) + value.tobytes()
    return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(text, value))


def described(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    sizes = tuple(reversed(shape))
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def gguf(metadata: Mapping[str, Any], tensors: Tensors, *, alignment: int = 32, descriptions: bytes | None = None,
         count: int | None = None, keys: int | None = None, version: int = 3) -> bytes:
    """A file of f32 tensors; what is given in place of the truth is written."""
    listed, data = b"", b""
    for name, array in tensors.items():
        listed += described(name, array.shape, 0, len(data))
        data += array.astype("<f4").tobytes()
        data += bytes(-len(data) % alignment)
    pairs = b"".join(text(key) + value_bytes(value) for key, value in metadata.items())
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if count is None else count,
                                 len(metadata) if keys is None else keys)
    head += pairs + (listed if descriptions is None else descriptions)
    return head + bytes(-len(head) % alignment) + data


def interleaved(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """What llama.cpp's converter does to queries and keys: a head's halves, woven into each other."""
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(rows.shape)


NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "ln_1": "attn_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip


def tensors_of(model: Any, woven: bool) -> dict[str, np.ndarray[Any, Any]]:
    """A model's parameters as llama.cpp names and arranges them; `woven`: queries and keys of rotary pairs."""
    out = {}
    for name, value in model.parameters().items():
        array = value.numpy()
        module, _, part = name.rpartition(".")
        for prefix in ("model.layers.", "transformer.h."):
            if module.startswith(prefix):
                number, _, module = module.removeprefix(prefix).partition(".")
                if prefix == "transformer.h." and array.ndim == 2:
                    array = array.T
                if woven and module in ("self_attn.q_proj", "self_attn.k_proj"):
                    heads = model.config.heads if module[10] == "q" else model.config.key_value_heads
                    array = interleaved(array, heads)
                out[f"blk.{number}.{NAMES[module]}.{part}"] = np.ascontiguousarray(array)
                break
        else:
            out[f"{NAMES[module]}.{part}"] = array
    return out
