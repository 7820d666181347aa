"""LSTM and GRU: PyTorch's values and gradients, a sequence alone as among others, a text in pieces as in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import handloom.tensor as ht
from handloom.errors import HandloomError, UsageError
from handloom.nn import GRU, LSTM
from handloom.nn.lanes import Lanes, layout, shapes
from handloom.tensor import random

KINDS: dict[str, Any] = {"LSTM": LSTM, "GRU": GRU}
LENGTHS = [4, 1, 6, 3, 3]
WIDTH = 3
INPUT, HIDDEN = 5, 7


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def packed(lengths: list[int], width: int = WIDTH) -> dict[str, np.ndarray]:
    return {**layout(lengths, width), "starts": np.cumsum([0, *lengths]).astype(np.int32)}


def symbols(count: int, states: int, width: int = WIDTH) -> dict[str, Any]:
    """Of `x`, `state` and `batch`, packed."""
    return {"x": ("tokens", INPUT), "batch": {**shapes(width), "starts": ("sequences+1",)},
            "state": ((count, "sequences", HIDDEN),) * states}  # fmt: skip


def run(model: Any, x: Any, state: Any, batch: Any, width: int = WIDTH) -> tuple[Any, Any]:
    """Outputs and last state; dense where there is no batch."""
    if batch is None:
        return model(x, state)
    lanes = Lanes(width, batch)
    y, last = model(lanes.spread(x), state, lanes)
    return lanes.gather(y), last


# --- beside PyTorch -----------------------------------------------------------------------------------------------

VARIANTS = [  # kind, layers, both directions, biases, packed, with a first state, compiled
    ("LSTM", 1, False, True, False, True, True),
    ("LSTM", 1, False, False, False, False, False),
    ("LSTM", 2, True, True, False, True, False),
    ("LSTM", 2, False, True, True, False, False),
    ("LSTM", 2, True, True, True, True, True),
    ("GRU", 1, False, True, False, True, True),
    ("GRU", 1, True, False, False, False, False),
    ("GRU", 2, True, True, False, False, False),
    ("GRU", 2, False, True, True, True, False),
    ("GRU", 2, True, True, True, False, True),
]


@pytest.mark.parity
@pytest.mark.parametrize(("kind", "layers", "both", "bias", "pack", "begun", "compiled"), VARIANTS)
def test_values_and_gradients_are_those_of_torch(
    kind: str, layers: int, both: bool, bias: bool, pack: bool, begun: bool, compiled: bool
) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind)(INPUT, HIDDEN, layers, bias=bias, bidirectional=both)
    ours = KINDS[kind](INPUT, HIDDEN, layers, bias, bidirectional=both, rng=None)
    ours.load({name: value.detach().numpy() for name, value in theirs.state_dict().items()})
    assert {name: value.shape for name, value in ours.parameters().items()} == {
        name: tuple(value.shape) for name, value in theirs.state_dict().items()
    }
    rows = len(LENGTHS) if pack else 3
    count = layers * (1 + both)
    xs = [normal(n, INPUT, seed=i) for i, n in enumerate(LENGTHS)] if pack else [normal(4, 3, INPUT)]
    state = tuple(normal(count, rows, HIDDEN, seed=9 + i) for i in range(ours.states)) if begun else None

    given = [torch.tensor(x, requires_grad=True) for x in xs]
    first = None if state is None else tuple(torch.tensor(part, requires_grad=True) for part in state)
    entry = torch.nn.utils.rnn.pack_sequence(given, enforce_sorted=False) if pack else given[0]
    out, last = theirs(entry, first if first is None or kind == "LSTM" else first[0])
    last = last if kind == "LSTM" else (last,)
    if pack:
        padded, _ = torch.nn.utils.rnn.pad_packed_sequence(out)
        out = torch.cat([padded[:n, i] for i, n in enumerate(LENGTHS)])
    slopes = [normal(*value.shape, seed=20 + i) for i, value in enumerate((out, *last))]
    sum((value * torch.tensor(slope)).sum() for value, slope in zip((out, *last), slopes, strict=True)).backward()

    def function(params: Any, x: Any, state: Any, batch: Any, slopes: Any) -> Any:
        def loss(chosen: Any) -> Any:
            params, x, state = chosen
            with ours.bound(params):
                y, last = run(ours, x, state, batch)
            total = ht.tensor(0.0)
            for value, slope in zip((y, *last), slopes, strict=True):
                total = total + (value * slope).sum()
            return total, y, last

        return ht.value_and_grad(loss, has_aux=True)((params, x, state))

    marks: dict[str, Any] = {}
    if pack:
        marks = symbols(count, ours.states)
        marks["slopes"] = [("tokens", HIDDEN * (1 + both)), *marks["state"]]
        if not begun:
            del marks["state"]
    batch = {name: ht.tensor(array) for name, array in packed(LENGTHS).items()} if pack else None
    arguments = (
        ours.parameters(), ht.tensor(np.concatenate(xs) if pack else xs[0]),
        None if state is None else tuple(map(ht.tensor, state)), batch, list(map(ht.tensor, slopes)),
    )  # fmt: skip
    found = ht.compile(function, symbols=marks)(*arguments) if compiled else function(*arguments)
    (_, y, ends), (params, x, states) = found

    def agree(mine: Any, other: Any) -> None:
        np.testing.assert_allclose(mine.numpy(), other.detach().numpy(), rtol=1e-4, atol=2e-6)

    for mine, other in zip((y, *ends), (out, *last), strict=True):
        agree(mine, other)
    for name, value in theirs.named_parameters():
        agree(params[name], value.grad)
    agree(x, torch.cat([part.grad for part in given]) if pack else given[0].grad)
    for mine, other in zip(states or (), first or (), strict=True):
        agree(mine, other.grad)


# --- a sequence and its neighbours --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_alone_has_the_bits_that_it_has_among_others(kind: str) -> None:
    model = KINDS[kind](INPUT, HIDDEN, 2, bidirectional=True, rng=1)
    x, starts = normal(sum(LENGTHS), INPUT), np.cumsum([0, *LENGTHS])
    state = tuple(normal(4, len(LENGTHS), HIDDEN, seed=i) for i in range(model.states))
    compiled = ht.compile(
        lambda x, state, batch: run(model, x, state, batch), symbols=symbols(4, model.states),
        capacity={"tokens": 17, "sequences": 5, "steps": 6},
    )  # fmt: skip
    y, last = compiled(x, state, packed(LENGTHS))
    together = y.numpy().copy(), [part.numpy().copy() for part in last]
    for i, length in enumerate(LENGTHS):
        mine = slice(starts[i], starts[i + 1])
        y, last = compiled(x[mine], tuple(part[:, i : i + 1] for part in state), packed([length]))
        assert y.numpy().tobytes() == together[0][mine].tobytes()
        for part, whole in zip(last, together[1], strict=True):
            assert part.numpy().tobytes() == whole[:, i : i + 1].tobytes()


def test_lanes_hold_every_token_once_and_say_where_sequences_begin_and_end() -> None:
    found = layout(LENGTHS, WIDTH)
    cells, places = found["cells"].reshape(-1, WIDTH), found["places"]
    assert len(cells) == 6  # 17 tokens in 3 lanes; the longest sequence has 6
    np.testing.assert_array_equal(cells.reshape(-1)[places], np.arange(17))
    assert len(set(places.tolist())) == 17
    begins, ends = (found[name].reshape(-1, WIDTH) for name in ("begins", "ends"))
    assert not begins[-1].any() and not ends[0].any()
    starts = np.cumsum([0, *LENGTHS])
    for sequence in range(len(LENGTHS)):
        (at,), (lane,) = np.nonzero(begins == sequence + 1)
        assert cells[at, lane] == starts[sequence]
        (after,), (same,) = np.nonzero(ends == sequence + 1)
        assert same == lane and cells[after - 1, lane] == starts[sequence + 1] - 1


@pytest.mark.parametrize("lengths", [[], [2, 0, 1]])
def test_lanes_refuse_what_has_no_tokens(lengths: list[int]) -> None:
    with pytest.raises(HandloomError, match="at least one token"):
        layout(lengths, 2)


def test_a_batch_that_was_not_arranged_is_named() -> None:
    with pytest.raises(HandloomError, match=r"no 'cells'.*arrange"):
        Lanes(2, {}).spread(ht.tensor(normal(3, 2)))


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_in_pieces_is_the_text_in_one(kind: str) -> None:
    model = KINDS[kind](INPUT, HIDDEN, 2, rng=2)
    x = normal(11, 3, INPUT)
    compiled = ht.compile(
        lambda x, state: model(x, state), symbols={"x": ("time", 3, INPUT)}, capacity={"time": 11}
    )
    state: Any = (np.zeros((2, 3, HIDDEN), np.float32),) * model.states
    y, last = compiled(x, state)
    whole = y.numpy().copy(), [part.numpy().copy() for part in last]
    pieces = []
    for piece in (x[:4], x[4:5], x[5:5], x[5:]):  # one of them a single step, one of them empty
        y, state = compiled(piece, state)
        pieces.append(y.numpy().copy())
        state = tuple(part.numpy().copy() for part in state)
    assert np.concatenate(pieces).tobytes() == whole[0].tobytes()
    for part, end in zip(state, whole[1], strict=True):
        assert part.tobytes() == end.tobytes()


def gradients(model: Any, x: Any, drawn: Any) -> Any:
    def loss(params: Any) -> Any:
        with model.bound(params), random.using(drawn):
            y, last = model(x)
        return (y * y).sum() + last[0].sum()

    return ht.value_and_grad(loss)(model.parameters())


def test_the_same_bits_for_any_number_of_threads() -> None:
    model = LSTM(40, 64, 2, dropout=0.3, bidirectional=True, weight_dropout=0.2, rng=3)
    x, drawn = normal(6, 25, 40), random.state(1, 2).numpy()
    found = []
    for threads in (1, 2, 3, 4):
        value, slopes = ht.compile(lambda x, drawn: gradients(model, x, drawn), threads=threads)(x, drawn)
        found.append([value.numpy().tobytes(), *(slope.numpy().tobytes() for slope in slopes.values())])
    assert all(other == found[0] for other in found[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_compiled_program_computes_what_the_reference_does(kind: str) -> None:
    model = KINDS[kind](INPUT, HIDDEN, 2, dropout=0.3, weight_dropout=0.4, rng=4)
    x, drawn = ht.tensor(normal(5, 6, INPUT)), random.state(5, 1)
    (value, slopes), (expected, other) = (
        ht.compile(lambda x, drawn: gradients(model, x, drawn))(x, drawn), gradients(model, x, drawn)
    )  # fmt: skip
    np.testing.assert_allclose(float(value), float(expected), rtol=1e-5)
    for name, slope in slopes.items():
        np.testing.assert_allclose(slope.numpy(), other[name].numpy(), rtol=1e-4, atol=1e-5)


def test_weight_dropout_takes_one_mask_of_the_hidden_weights_for_all_steps() -> None:
    model = LSTM(INPUT, HIDDEN, weight_dropout=0.5, rng=5)
    x, drawn = ht.tensor(normal(4, 2, INPUT)), random.state(7)
    with random.using(drawn):
        dropped = model(x)[0].numpy()
    with random.using(drawn):
        weight = ht.dropout(model.weight_hh_l0, 0.5)
    assert 0.2 < (weight.numpy() == 0).mean() < 0.8
    plain = LSTM(INPUT, HIDDEN, rng=5)
    plain.load({"weight_hh_l0": weight})
    assert plain(x)[0].numpy().tobytes() == dropped.tobytes()
    assert not np.allclose(model(x)[0].numpy(), dropped)  # outside training nothing is dropped


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        GRU(3, 0)
    with pytest.raises(HandloomError, match="inputs of 5 are needed"):
        LSTM(5, 7)(ht.tensor(normal(2, 3, 4)))
    with pytest.raises(HandloomError, match=r"a state of 2 × \[1, rows, 7\] is needed"):
        LSTM(5, 7)(ht.tensor(normal(2, 3, 5)), (ht.tensor(normal(1, 3, 7)),))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_time_is_two_kernels_forward_and_two_back(kind: str) -> None:
    """A product and a loop; all that does not wait for the step before lies outside."""
    model = KINDS[kind](INPUT, HIDDEN, rng=6)
    calls = []
    for time in (3, 4):
        step = ht.compile(lambda x, drawn: gradients(model, x, drawn))
        step(normal(time, 2, INPUT), random.state(0).numpy())
        calls.append(len(step.program.plan.program.calls))
    assert calls[1] - calls[0] == 4
