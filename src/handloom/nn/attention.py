"""Self-attention of decoders: the one place where a cache of keys and values comes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import handloom.tensor as ht
from handloom.tensor import Tensor


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    batch: Mapping[str, Any],
    *,
    layer: int,
    heads: int,
    key_value_heads: int | None = None,
    scale: float | None = None,
    window: int | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Causal attention of `layer`, q [T, heads·size] over k and v [T, key_value_heads·size], within the sequences of
    batch["starts"] i32[S+1]; returns [T, heads·size]. `scale` is 1/√size unless given, `window` how far back a token
    sees, itself included.
    """
    return ht.attention(q, k, v, batch["starts"], heads=heads, key_value_heads=key_value_heads, scale=scale,
                        causal=True, window=window, dropout=dropout)
