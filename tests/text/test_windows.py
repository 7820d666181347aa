"""Long texts: windows, cuts, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom.errors import UsageError
from handloom.text.encoding import Encoding
from handloom.text.windows import HOW, cut, cut_all, mean_logits, owners, window_ranges


def encoding(text: int, pair: int | None = None) -> Encoding:
    """[CLS] text [SEP], or [CLS] text [SEP] pair [SEP], with ids that count the tokens."""
    sequence = [-1, *[0] * text, -1, *([] if pair is None else [*[1] * pair, -1])]
    count = len(sequence)
    parts = np.asarray(sequence, np.int32)
    order = np.arange(count, dtype=np.int32)
    return Encoding(order, order * 0, np.stack([order, order + 1], 1), parts < 0, order, parts)


def test_windows_overlap_and_the_last_is_full() -> None:
    assert window_ranges(10, 4, 2) == [(0, 4), (2, 6), (4, 8), (6, 10)]
    assert window_ranges(11, 4, 1) == [(0, 4), (3, 7), (6, 10), (7, 11)]
    assert window_ranges(4, 4, 1) == [(0, 4)]
    assert window_ranges(0, 4, 1) == [(0, 0)]
    assert window_ranges(9, 8) == [(0, 8), (1, 9)]


def test_a_text_that_fits_stays_whole() -> None:
    whole = encoding(5)
    found = cut(whole, 7)
    assert found.windows == (whole,) and not found.shortened


def test_windows_keep_their_special_tokens() -> None:
    found = cut(encoding(10), 6, overlap=2)
    assert [window.ids.tolist() for window in found.windows] == [
        [0, 1, 2, 3, 4, 11], [0, 3, 4, 5, 6, 11], [0, 5, 6, 7, 8, 11], [0, 7, 8, 9, 10, 11],
    ]  # fmt: skip
    assert not found.shortened


def test_head_and_head_tail() -> None:
    assert cut(encoding(10), 6, "head").windows[0].ids.tolist() == [0, 1, 2, 3, 4, 11]
    found = cut(encoding(10), 6, "head-tail")
    assert found.windows[0].ids.tolist() == [0, 1, 8, 9, 10, 11]
    assert len(found.windows) == 1 and found.shortened


def test_of_a_pair_the_longer_part_is_cut() -> None:
    found = cut(encoding(2, 8), 9, overlap=1)  # [CLS] t t [SEP] p p p p [SEP]
    assert [window.ids.tolist() for window in found.windows] == [
        [0, 1, 2, 3, 4, 5, 6, 7, 12], [0, 1, 2, 3, 7, 8, 9, 10, 12], [0, 1, 2, 3, 8, 9, 10, 11, 12],
    ]  # fmt: skip
    assert not found.shortened
    assert cut(encoding(9, 8), 9).shortened


def test_the_count_of_shortened_texts_is_said() -> None:
    texts = [encoding(3), encoding(20), encoding(30)]
    _, said = cut_all(texts, 10)
    assert str(said) == f"2 of 3 texts are longer than the model and are read in {said.windows - 1} windows"
    _, said = cut_all(texts, 10, "head")
    assert str(said) == "2 of 3 texts were longer than the model and have been shortened"
    assert str(cut_all(texts, 40)[1]) == "all 3 texts fit the model"


def test_impossible_cuts_are_refused() -> None:
    with pytest.raises(UsageError, match="--long middle is not known; there are windows, head, head-tail"):
        cut(encoding(10), 6, "middle")
    with pytest.raises(UsageError, match="--max-length 3 leaves no room"):
        cut(encoding(10), 3)
    with pytest.raises(UsageError, match="overlap of 4 tokens does not fit windows of 4"):
        cut(encoding(10), 6, overlap=4)


@given(st.integers(0, 40), st.none() | st.integers(0, 40), st.integers(7, 30), st.sampled_from(HOW))
def test_windows_fit_and_lose_nothing_unsaid(text: int, pair: int | None, longest: int, how: str) -> None:
    whole = encoding(text, pair)
    found = cut(whole, longest, how)
    assert all(len(window) <= longest for window in found.windows)
    for window, kept in zip(found.windows, found.kept, strict=True):
        assert window.ids.tolist() == kept.tolist() == sorted(kept.tolist())
        assert int(window.special.sum()) == int(whole.special.sum())
    held = set(np.concatenate(found.kept).tolist())
    assert (held == set(range(len(whole)))) != found.shortened


@given(st.integers(1, 60), st.integers(2, 20), st.data())
def test_each_token_takes_the_window_of_most_context(text: int, room: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, room - 1))
    whole = encoding(text)
    found = cut(whole, room + 2, overlap=overlap)
    window, place = owners(found.kept, len(whole))
    content = [kept[(kept > 0) & (kept < text + 1)] for kept in found.kept]
    for token in range(1, text + 1):
        contexts = []
        for kept in content:
            if token not in kept:
                contexts.append(-1)
                continue
            before = token - kept[0] if kept[0] > 1 else text
            after = kept[-1] - token if kept[-1] < text else text
            contexts.append(int(min(before, after)))
        assert contexts[window[token]] == max(contexts)
        assert found.kept[window[token]][place[token]] == token


def test_tokens_that_were_cut_away_are_said() -> None:
    found = cut(encoding(10), 6, "head")
    window, place = owners(found.kept, 12)
    assert window.tolist() == [0] * 5 + [-1] * 6 + [0]
    assert place.tolist() == [0, 1, 2, 3, 4, -1, -1, -1, -1, -1, -1, 5]


def test_logits_are_the_mean_over_windows() -> None:
    logits = np.asarray([[1, 2], [3, 4], [0.1, 0.2]], np.float32)
    mean = mean_logits(logits, np.asarray([0, 0, 1]), 2)
    assert mean[0].tolist() == [2, 3]
    assert mean[1].tobytes() == logits[2].tobytes()
