"""What a language model is asked in pre-training, as functions of arrays: a sequence in, a corrupted one and its
labels out. Nothing here knows a model; all chance comes in as `Draws`.

masked            Devlin et al., "BERT", 2019, section 3.1 and appendix A.1; whole words as in its later checkpoints
span_corruption   Raffel et al., "Exploring the limits of transfer learning (T5)", 2020, section 3.1.4
denoising         Lewis et al., "BART", 2020, section 2.2: text infilling and sentence permutation
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.data.draws import Draws
from handloom.errors import HandloomError

Array = NDArray[Any]
NO_LABEL = -100


def next_tokens(ids: Array, starts: Array) -> Array:
    """Labels of causal language modelling, i32[T], for ids [T + 1], one token more than the model is shown.

    starts: where documents begin in `ids`; the token before such a place has no next one: -100.
    """
    labels = ids[1:].astype(np.int32)
    inner = starts[(starts > 0) & (starts < len(ids))]
    labels[inner - 1] = NO_LABEL
    return labels


def chosen_places(begins: Array, rate: float, whole: bool, draws: Draws) -> Array:
    """i64, rising: the places of a sequence that are to be predicted: round(rate · n) of them, at least one.

    begins: bool[n], where words begin. whole: words are taken or left as one; a word that would make them too many is
    passed over, so that there may be fewer (one, however long, where none fits).
    """
    count = len(begins)
    wanted = max(1, int(rate * count + 0.5))
    if not whole:
        return np.sort(draws.order(count)[:wanted])
    first = np.flatnonzero(begins)
    if not first.size or first[0] != 0:
        first = np.concatenate([[0], first])
    after = np.append(first[1:], count)
    order = draws.order(len(first))
    sizes = (after - first)[order].tolist()
    taken: list[int] = []
    total = 0
    for word, size in zip(order.tolist(), sizes, strict=True):
        if total + size <= wanted:
            taken.append(word)
            total += size
            if total == wanted:
                break
    if not taken:
        taken = [int(order[int(np.argmin(sizes))])]
    return np.sort(np.concatenate([np.arange(first[word], after[word]) for word in taken]))


def masked(ids: Array, places: Array, mask: int, ordinary: Array, draws: Draws) -> Array:
    """i32[n]: the sequence with 80 % of the places replaced by `mask`, 10 % by any token of `ordinary`, 10 % as they
    are. Their labels are ids[places]."""
    shown = ids.astype(np.int32)
    chance = draws.uniform(len(places))
    shown[places[chance < 0.8]] = mask
    other = places[(chance >= 0.8) & (chance < 0.9)]
    shown[other] = ordinary[draws.below(len(ordinary), len(other))]
    return shown


# -- spans


def span_counts(length: int, density: float, mean: float) -> tuple[int, int]:
    """(noise tokens, noise spans) of a sequence of `length` ≥ 2 tokens."""
    noise = min(max(int(length * density + 0.5), 1), length - 1)
    spans = min(max(int(noise / mean + 0.5), 1), noise, length - noise)
    return noise, spans


def window_for(context: int, density: float, mean: float) -> tuple[int, int]:
    """(tokens, targets): the most tokens whose corrupted form, with the end, has at most `context` tokens, and the
    length of their target with its end. HandloomError where not even two tokens fit."""

    def lengths(tokens: int) -> tuple[int, int]:
        noise, spans = span_counts(tokens, density, mean)
        return tokens - noise + spans + 1, noise + spans + 1

    if context < lengths(2)[0]:
        raise HandloomError(f"a context of {context} tokens is too short for span corruption; {lengths(2)[0]} is least")
    tokens = 2
    while lengths(tokens + 1)[0] <= context:
        tokens += 1
    return tokens, lengths(tokens)[1]


def noise_mask(length: int, density: float, mean: float, draws: Draws) -> Array:
    """bool[length ≥ 2]: which tokens are noise. Spans of kept and of noise tokens alternate, a kept one first; both
    are divided at random into as many spans, none of them empty."""
    noise, spans = span_counts(length, density, mean)
    pieces = np.stack([_divided(length - noise, spans, draws), _divided(noise, spans, draws)], 1).reshape(-1)
    return np.repeat(np.arange(2 * spans) % 2 == 1, pieces)


def _divided(count: int, parts: int, draws: Draws) -> Array:
    """i64[parts]: sizes of `count` things cut at random into non-empty parts."""
    cuts = np.sort(draws.order(count - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [count]]))


def span_corruption(ids: Array, noise: Array, sentinels: Array) -> tuple[Array, Array]:
    """(source, target): in the source each span of noise is one sentinel, in the target each span that was kept is.

    ids i32[n]; noise bool[n], beginning with a token that is kept; sentinels: ids in the order of their use. Ends of
    sequences are the caller's. Raises HandloomError for more spans than sentinels.
    """
    return _replaced(ids, noise, sentinels), _replaced(ids, ~noise, sentinels)


def _replaced(ids: Array, gone: Array, sentinels: Array) -> Array:
    begins = gone & ~np.concatenate([[False], gone[:-1]])
    number = np.cumsum(begins) - 1
    spans = int(number[-1]) + 1 if len(ids) else 0
    if spans > len(sentinels):
        raise HandloomError(f"{spans} spans are corrupted, but the vocabulary has {len(sentinels)} sentinels")
    out = ids.astype(np.int32)
    out[begins] = sentinels[number[begins]]
    return out[begins | ~gone]  # type: ignore[no-any-return]


# -- denoising


def permuted_sentences(ids: Array, ends: Array, draws: Draws) -> Array:
    """i32[n]: the sentences in another order. ends: bool[n], the last tokens of sentences; what follows the last of
    them is a sentence, too."""
    cuts = np.flatnonzero(ends[:-1]) + 1 if len(ids) else np.zeros(0, np.int64)
    sentences = np.split(ids, cuts)
    return np.concatenate([sentences[i] for i in draws.order(len(sentences)).tolist()])


def infilled(ids: Array, mask: int, rate: float, mean: float, draws: Draws) -> Array:
    """i32: the sequence with spans of altogether round(rate · n) tokens each replaced by one `mask`.

    Lengths of spans are Poisson distributed; one of length 0 inserts a mask. Every arrangement of the spans among the
    tokens that stay is as likely. The result is never longer than the sequence.
    """
    count = len(ids)
    wanted = min(int(rate * count + 0.5), count)
    if not wanted:
        return ids.astype(np.int32)
    lengths = np.zeros(0, np.int64)
    while lengths.sum() < wanted:
        lengths = np.concatenate([lengths, draws.poisson(mean, 2 + int(wanted / mean))])
    used = int(np.searchsorted(np.cumsum(lengths), wanted)) + 1
    lengths = lengths[:used].copy()
    lengths[-1] -= lengths.sum() - wanted
    lengths = np.delete(lengths, np.flatnonzero(lengths == 0)[: max(used - wanted, 0)])
    used = len(lengths)
    # Things in a row: the tokens that stay (size 1) and the spans, the spans' places drawn among all.
    spans = np.zeros(count - wanted + used, bool)
    spans[draws.order(len(spans))[:used]] = True
    sizes = np.ones(len(spans), np.int64)
    sizes[spans] = lengths
    at = np.cumsum(sizes) - sizes
    out = np.full(len(spans), mask, np.int32)
    out[~spans] = ids[at[~spans]]
    return out
