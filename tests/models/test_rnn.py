"""Recurrent families: beside PyTorch, a row alone as among others, saved and opened, in pieces, generating, trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handloom.tensor as ht
from handloom.errors import HandloomError, UsageError
from handloom.generate.recurrent import PIECE, RecurrentDecoder, RecurrentPairDecoder
from handloom.generate.sampling import Sampling
from handloom.generate.search import generate
from handloom.models.config import Fields
from handloom.models.encoder import freezable
from handloom.models.registry import load_model, new_model
from handloom.models.rnn import MODEL_TYPE, read_config
from handloom.models.safetensors_file import write_safetensors
from handloom.train.optimisers import sgd
from handloom.train.streams import StreamTraining, rows_of, windows

SMALL = {"model_type": MODEL_TYPE, "vocab_size": 40, "hidden_size": 12, "num_layers": 2, "lanes": 3,
         "initializer_range": 0.3}  # fmt: skip
TEXT, TOKEN, CAUSAL, PAIRS = "text-classification", "token-classification", "text-generation", "text2text-generation"
VARIANTS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "lstm": (CAUSAL, {}),
    "gru, free output": (CAUSAL, {"cell": "gru", "tie_word_embeddings": False, "embedding_size": 8}),
    "classifier, both directions": (TEXT, {"bidirectional": True, "embedding_size": 8}),
    "classifier": (TEXT, {"cell": "gru"}),
    "tagger, both directions": (TOKEN, {"bidirectional": True, "cell": "gru"}),
    "pairs": (PAIRS, {"cell": "gru"}),
    "pairs, both directions": (PAIRS, {"bidirectional": True}),
}
LENGTHS, SOURCES = [3, 1, 6, 2, 4], [2, 5, 1, 4, 4]


def config_of(**more: Any) -> Any:
    labels = {"id2label": {"0": "a", "1": "b", "2": "c"}}
    return read_config(Fields({**SMALL, **labels, **more}))


def model_of(name: str, **more: Any) -> Any:
    task, values = VARIANTS[name]
    return new_model(config_of(**values, **more), task, np.random.default_rng(3))


def ids(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).integers(0, 40, shape).astype(np.int32)


def batch_of(model: Any, which: list[int]) -> dict[str, np.ndarray]:
    """Sequences of these numbers, packed."""
    found: dict[str, np.ndarray] = {}
    for side, lengths in (("", LENGTHS), ("source_", SOURCES)):
        if side and model.task != PAIRS:
            continue
        found[f"{side}ids"] = np.concatenate([ids(lengths[i], seed=i + 10 * len(side)) for i in which])
        found[f"{side}starts"] = np.cumsum([0, *(lengths[i] for i in which)]).astype(np.int32)
    return {**found, **model.arrange(found)}


def symbols(model: Any) -> dict[str, Any]:
    shapes = {"ids": ("tokens",), "starts": ("sequences+1",), **model.arranged()}
    if model.task == PAIRS:
        shapes |= {"source_ids": ("source_tokens",), "source_starts": ("sequences+1",)}
    return {"batch": shapes}


def loss_and_gradients(model: Any, params: Any, batch: Any, labels: Any) -> Any:
    def loss(params: Any) -> Any:
        with model.bound(params):
            if model.task in (CAUSAL, PAIRS):
                return model.loss(model.encode(batch), labels)[0]
            return ht.cross_entropy(model(batch), labels)[0]

    return ht.value_and_grad(loss)(params)


def labels_of(model: Any) -> np.ndarray:
    rows = len(LENGTHS) if model.task == TEXT else sum(LENGTHS)
    return ids(rows, seed=5) % (40 if model.task in (CAUSAL, PAIRS) else 3)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_row_has_the_same_bits_alone_and_among_others(name: str) -> None:
    model = model_of(name)
    run = ht.compile(
        lambda params, batch: bound(model, params, batch), symbols=symbols(model),
        capacity={"tokens": 16, "source_tokens": 16, "sequences": 5, "steps": 6, "source_steps": 6},
    )  # fmt: skip
    params = model.parameters()
    together = run(params, batch_of(model, list(range(5)))).numpy().copy()
    starts = np.arange(6) if model.task == TEXT else np.cumsum([0, *LENGTHS])
    for i in range(5):
        alone = run(params, batch_of(model, [i])).numpy()
        assert alone.tobytes() == together[starts[i] : starts[i + 1]].tobytes()
    expected = model({name: ht.tensor(array) for name, array in batch_of(model, list(range(5))).items()})
    np.testing.assert_allclose(together, expected.numpy(), rtol=1e-4, atol=1e-5)


def bound(model: Any, params: Any, batch: Any) -> Any:
    with model.bound(params):
        return model(batch)


@pytest.mark.parametrize("name", ["gru, free output", "classifier, both directions", "pairs, both directions"])
def test_compiled_gradients_are_those_of_the_reference(name: str) -> None:
    model = model_of(name)
    batch = batch_of(model, list(range(5)))
    labels = labels_of(model)
    rows = "sequences" if model.task == TEXT else "tokens"
    found = []
    for threads in (1, 3):
        run = ht.compile(lambda params, batch, labels: loss_and_gradients(model, params, batch, labels),
                         symbols={**symbols(model), "labels": (rows,)}, threads=threads)  # fmt: skip
        value, slopes = run(model.parameters(), batch, labels)
        found.append((float(value), {key: slope.numpy().copy() for key, slope in slopes.items()}))
    given = {key: ht.tensor(array) for key, array in batch.items()}
    expected, others = loss_and_gradients(model, model.parameters(), given, ht.tensor(labels))
    np.testing.assert_allclose(found[0][0], float(expected), rtol=1e-5)
    for key, slope in found[0][1].items():
        np.testing.assert_allclose(slope, others[key].numpy(), rtol=1e-4, atol=2e-6, err_msg=key)
        assert slope.tobytes() == found[1][1][key].tobytes()


@pytest.mark.parity
@pytest.mark.parametrize("name", ["lstm", "gru, free output", "pairs", "pairs, both directions"])
def test_values_and_gradients_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    model = model_of(name)
    p = {key: torch.tensor(value.numpy(), requires_grad=True) for key, value in model.parameters().items()}
    config = model.config

    def recurrent(prefix: str, x: Any, state: Any, both: bool) -> Any:
        hidden = config.hidden_size // (2 if both else 1)
        kind = torch.nn.LSTM if config.cell == "lstm" else torch.nn.GRU
        net = kind(x.shape[1], hidden, config.layers, bidirectional=both)
        mine = {key: p[f"{prefix}.{key}"] for key, _ in net.named_parameters()}
        return torch.func.functional_call(net, mine, (x,) if state is None else (x, state))

    def merged(state: Any) -> Any:
        if not config.bidirectional:
            return state
        parts = state if isinstance(state, tuple) else (state,)
        joined = tuple(torch.cat([s.reshape(config.layers, 2, -1)[:, i] for i in (0, 1)], 1) for s in parts)
        return joined if isinstance(state, tuple) else joined[0]

    words = p["encoder.embeddings.weight" if model.task == PAIRS else "model.embeddings.weight"]
    out = p.get("lm_head.weight", words)
    total, labels, at = 0.0, torch.tensor(labels_of(model)).long(), 0
    batch = batch_of(model, list(range(5)))
    for i in range(5):
        mine = torch.tensor(ids(LENGTHS[i], seed=i)).long()
        if model.task == PAIRS:
            source = torch.tensor(ids(SOURCES[i], seed=i + 70)).long()
            memory, state = recurrent("encoder.rnn", words[source], None, config.bidirectional)
            y, _ = recurrent("decoder", words[mine], merged(state), False)
            seen = (y @ (memory @ p["attention.keys.weight"].T).T).softmax(-1) @ memory
            y = torch.tanh(torch.cat([seen, y], 1) @ p["attention.joined.weight"].T)
        else:
            y, _ = recurrent("model.rnn", words[mine], None, False)
        loss = torch.nn.functional.cross_entropy(y @ out.T, labels[at : at + len(mine)], reduction="sum")
        total, at = total + loss, at + len(mine)
    total.backward()
    given = {key: ht.tensor(array) for key, array in batch.items()}
    value, slopes = loss_and_gradients(model, model.parameters(), given, ht.tensor(labels_of(model)))
    np.testing.assert_allclose(float(value), total.item(), rtol=1e-5)
    for key, slope in slopes.items():
        np.testing.assert_allclose(slope.numpy(), p[key].grad.numpy(), rtol=1e-3, atol=2e-5, err_msg=key)


@pytest.mark.parametrize("name", VARIANTS)
def test_saved_it_is_opened_as_it_was(name: str, tmp_path: Path) -> None:
    task, values = VARIANTS[name]
    model = model_of(name)
    described = model.config.to_json(model.architecture, model.config.labels)
    (tmp_path / "config.json").write_text(json.dumps(described))
    write_safetensors(tmp_path / "model.safetensors", {k: v.numpy() for k, v in model.parameters().items()})
    again, config, report = load_model(tmp_path, task)
    assert report.new == () and report.unexpected == () and config.cell == values.get("cell", "lstm")
    for key, value in again.parameters().items():
        assert value.numpy().tobytes() == model.parameters()[key].numpy().tobytes()


@pytest.mark.parametrize(("changes", "task", "message"), [
    ({"cell": "lstn"}, CAUSAL, r"cell 'lstn' is not supported \(did you mean 'lstm'\?\)"),
    ({"embedding_size": 8, "tie_word_embeddings": True}, CAUSAL, "must be equal"),
    ({"hidden_size": 7, "bidirectional": True}, TEXT, "even hidden_size, not 7"),
    ({"bidirectional": True}, CAUSAL, "bidirectional must be false"),
    ({"weight_dropout": 1.5}, CAUSAL, "weight_dropout must be at least 0 and below 1"),
])  # fmt: skip
def test_a_wrong_configuration_names_the_field(changes: dict[str, Any], task: str, message: str) -> None:
    with pytest.raises(HandloomError, match=message):
        new_model(config_of(**changes), task, np.random.default_rng(0))


def test_layers_are_frozen_by_their_numbers() -> None:
    model = model_of("classifier, both directions")
    frozen = freezable(model, "layers:1")
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert frozen == [
        "model.embeddings.weight", *(f"model.rnn.{kind}_l0{end}" for end in ("", "_reverse") for kind in kinds)
    ]  # fmt: skip
    assert set(freezable(model, "encoder")) == {name for name in model.parameters() if name.startswith("model.")}


# --- streams ------------------------------------------------------------------------------------------------------


def test_a_stream_is_cut_into_rows_and_windows() -> None:
    stream = rows_of(np.arange(23), 3)
    np.testing.assert_array_equal(stream, np.arange(21).reshape(3, 7).T)
    pieces = list(windows(stream, 4))
    assert [len(x) for x, _ in pieces] == [4, 2]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in pieces]), stream[:-1])
    np.testing.assert_array_equal(np.concatenate([y for _, y in pieces]), stream[1:])
    with pytest.raises(HandloomError, match="5 tokens are too few for 3 rows"):
        rows_of(np.arange(5), 3)
    with pytest.raises(UsageError, match="at least one step"):
        list(windows(stream, 0))


def test_perplexity_does_not_depend_on_where_the_stream_is_cut() -> None:
    training = StreamTraining(model_of("lstm"), sgd(0.0, 0.0), 3, 20)
    stream = rows_of(ids(60), 3)
    whole = training.perplexity(stream, 20)
    np.testing.assert_allclose([training.perplexity(stream, time) for time in (1, 4, 7)], whole, rtol=1e-6)


@pytest.mark.parity
def test_truncated_training_is_that_of_torch() -> None:
    """Three windows of a stream with carried state, clipping and SGD: losses and weights."""
    torch = pytest.importorskip("torch")
    model = model_of("gru, free output")
    training = StreamTraining(model, sgd(0.0, 0.0), 3, 4, clip=0.5)
    p = {key: torch.nn.Parameter(torch.tensor(value.numpy())) for key, value in model.parameters().items()}
    net = torch.nn.GRU(8, 12, 2)
    optimiser, state = torch.optim.SGD(p.values(), lr=0.7), torch.zeros(2, 3, 12)
    for given, following in windows(rows_of(ids(36), 3), 4):
        mine = {key: p[f"model.rnn.{key}"] for key, _ in net.named_parameters()}
        y, state = torch.func.functional_call(
            net, mine, (p["model.embeddings.weight"][torch.tensor(given).long()], state)
        )
        state = state.detach()
        logits = (y @ p["lm_head.weight"].T).reshape(-1, 40)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(following).long().reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(p.values(), 0.5)
        optimiser.step()
        result = training.step(given, following, 0.7)
        np.testing.assert_allclose(result.loss / result.weight, loss.item(), rtol=1e-5)
    for key, value in training.weights().items():
        np.testing.assert_allclose(value, p[key].detach().numpy(), rtol=1e-4, atol=1e-5, err_msg=key)


def test_a_language_model_learns_a_text_by_heart() -> None:
    text = rows_of(np.tile(ids(12), 10), 4)
    model = model_of("lstm", dropout=0.1, weight_dropout=0.1)
    training = StreamTraining(model, sgd(0.0, 0.9), 4, 6, clip=1.0)
    before = training.perplexity(text, 6)
    for _ in range(40):
        training.epoch(text, 6, 0.3)
    assert training.perplexity(text, 6) < 2 < 10 < before
    assert training.epoch(text, 6, 0.0) < 1  # with dropout, in nats


# --- going on -----------------------------------------------------------------------------------------------------


def test_what_is_read_in_pieces_and_step_by_step_is_what_is_read_at_once() -> None:
    model = model_of("lstm")
    decoder = RecurrentDecoder(model)
    prompts = [ids(PIECE + 3, seed=1), ids(2, seed=2), ids(PIECE, seed=3)]
    more = ids(2, 3, seed=4)
    state, first = decoder.start(prompts)
    second = state.step(more[0])
    state.keep([2, 0, 0])
    third = state.step(more[1])
    for number, prompt in enumerate(prompts):
        whole = np.concatenate(list(decoder.logits(np.concatenate([prompt, more[0][[number]]]))))
        np.testing.assert_array_equal(whole[-2], first[number])
        np.testing.assert_array_equal(whole[-1], second[number])
    for place, number in enumerate([2, 0, 0]):
        text = np.concatenate([prompts[number], more[0][[number]], more[1][[place]]])
        np.testing.assert_array_equal(np.concatenate(list(decoder.logits(text)))[-1], third[place])


@pytest.mark.parametrize("name", ["pairs", "pairs, both directions"])
def test_pairs_are_decoded_as_they_are_trained(name: str) -> None:
    """Greedily, step by step: each word is the likeliest after those before it, given all at once."""
    model = model_of(name, decoder_start_token_id=2)
    sources = [ids(n, seed=n) for n in (4, 1, 6)]
    decoder = RecurrentPairDecoder(model)
    found: list[list[int]] = [[] for _ in sources]
    for number, token, _ in generate(decoder, sources, Sampling(), 5, frozenset({9})):
        found[number].append(token)
    for source, words in zip(sources, found, strict=True):
        batch = {"ids": np.array([2, *words[:-1]], np.int32), "starts": np.array([0, len(words)], np.int32),
                 "source_ids": source, "source_starts": np.array([0, len(source)], np.int32)}  # fmt: skip
        logits = model({key: ht.tensor(array) for key, array in {**batch, **model.arrange(batch)}.items()})
        assert logits.numpy().argmax(1).tolist() == words
    state, _ = decoder.start(sources)
    state.keep([2, 2, 0])
    again = state.step(np.array([3, 4, 5], np.int32))
    for place, number in enumerate([2, 2, 0]):
        alone, _ = decoder.start([sources[number]])
        np.testing.assert_array_equal(alone.step(np.array([3 + place], np.int32))[0], again[place])
    with pytest.raises(UsageError, match="given what it reads"):
        decoder.logits(sources[0])
