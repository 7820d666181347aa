"""Attention of decoders, to themselves and to a source: the one place where a cache of keys and values comes in."""

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
    bias: Tensor | None = None,
) -> Tensor:
    """Causal attention of `layer`, q [T, heads·size] over k and v [T, key_value_heads·size], within the sequences of
    batch["starts"] i32[S+1]; returns [T, heads·size]. `scale` is 1/√size unless given, `window` how far back a token
    sees, itself included, `bias` [heads, 2·reach + 1] what is added by distance (see ht.attention).

    With batch["cache"], a list of (keys, values) [slots, key_value_heads·size] by layer, the new rows are put where
    batch["slots"] i32[T] says, and each sequence attends to the rows batch["key_starts"] … batch["key_ends"] − 1 (both
    i32[S]), of which its own new ones are the last; batch["longest"], a plain number, is the most that it can have.
    The list then holds the cache as it is afterwards.
    """
    where: dict[str, Any] = {}
    if "cache" in batch:
        k, v = (ht.put(old, batch["slots"], new) for old, new in zip(batch["cache"][layer], (k, v), strict=True))
        batch["cache"][layer] = (k, v)
        where = {name: batch[name] for name in ("key_starts", "key_ends", "longest")}
    return ht.attention(q, k, v, batch["starts"], heads=heads, key_value_heads=key_value_heads, scale=scale,
                        causal=True, window=window, dropout=dropout, bias=bias, **where)


def attend_source(
    q: Tensor,
    source: tuple[Tensor, Tensor],
    batch: Mapping[str, Any],
    *,
    heads: int,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of targets, q [T, heads·size] in the sequences of batch["starts"] i32[S+1], to all of their sources:
    keys and values [source tokens, heads·size] in the sequences of batch["source_starts"] i32[S+1]; returns
    [T, heads·size]. `scale` is 1/√size unless given.

    With batch["source_key_starts"] and batch["source_key_ends"], both i32[S], a sequence's source is those rows, of
    which several may have the same: sources that were read once; batch["source_longest"], a plain number, is the most
    that one can have.
    """
    if "source_key_starts" in batch:
        where = {name: batch[f"source_{name}"] for name in ("key_starts", "key_ends", "longest")}
    else:
        where = {"key_starts": batch["source_starts"]}
    return ht.attention(q, *source, batch["starts"], heads=heads, scale=scale, dropout=dropout, **where)
