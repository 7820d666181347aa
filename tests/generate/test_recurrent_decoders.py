"""Recurrent encoder–decoders from a folder: what Writer writes and scores is what the whole model says, run
again at every step."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tiny import keeps_to_what_is_wanted, write

import handloom.tensor as ht
from handloom.generate import recurrent
from handloom.generate.generator import Writer
from handloom.generate.recurrent import RecurrentPairDecoder
from handloom.generate.sampling import Place, Sampling, choose, log_probabilities
from handloom.models.config import Fields
from handloom.models.registry import new_model
from handloom.models.rnn import read_config
from handloom.models.safetensors_file import write_safetensors

START, NEW = 2, 7
CONFIG = {"model_type": "handloom-rnn", "architectures": ["RNNForConditionalGeneration"], "vocab_size": 90,
          "hidden_size": 12, "num_layers": 2, "lanes": 3, "initializer_range": 0.4, "bidirectional": True,
          "decoder_start_token_id": START, "eos_token_id": 1}  # fmt: skip
SOURCES = ["the cat sat on the mat", "dog", "the door by the dog"]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    folder = write(tmp_path_factory.mktemp("pairs"))
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    model = new_model(read_config(Fields(CONFIG)), "text2text-generation", np.random.default_rng(3))
    write_safetensors(folder / "model.safetensors", {name: x.numpy() for name, x in model.parameters().items()})
    return Writer.from_pretrained(folder)


def whole(generator: Writer, source: str, target: list[int]) -> np.ndarray:
    """Logits of every token of a target, by the model as it is trained."""
    decoder = generator.decoder
    assert isinstance(decoder, RecurrentPairDecoder)
    read = generator.encode(source)
    batch: dict[str, Any] = {
        "ids": np.array(target, np.int32), "starts": np.array([0, len(target)], np.int32), "source_ids": read,
        "source_starts": np.array([0, len(read)], np.int32),
    }  # fmt: skip
    batch |= decoder.model.arrange(batch)
    return decoder.model({name: ht.tensor(array) for name, array in batch.items()}).numpy()


@pytest.mark.parametrize("how", [{}, {"temperature": 0.8, "top_k": 20, "seed": 5}], ids=["greedy", "sampling"])
def test_writing_is_running_the_whole_model_again_at_each_step(generator: Writer, how: dict[str, Any]) -> None:
    found = generator.generate(SOURCES, max_new_tokens=NEW, **how)
    for source, one in zip(SOURCES, found, strict=True):
        target = [START]
        while len(target) <= NEW and target[-1] not in generator.ends:
            row = whole(generator, source, target)[-1]
            target.append(choose(row, np.array(target, np.int32), Sampling(**how), Place(len(target) - 1)))
        assert one.ids == target[1:]
        assert "".join(generator.stream(source, max_new_tokens=NEW, **how)) == one.text


def test_beams_find_what_all_continuations_would(generator: Writer) -> None:
    """With as many beams as there are words, two steps are an exhaustive search."""
    best = generator.beams("dog", beams=90, max_new_tokens=2, length_penalty=0.0)[0]
    first = log_probabilities(whole(generator, "dog", [START]))[-1]
    ended = {(end,): first[end] for end in generator.ends}
    pairs = {(i, j): first[i] + row[j] for i in range(90) if i not in generator.ends
             for row in log_probabilities(whole(generator, "dog", [START, i]))[-1:] for j in range(90)}  # fmt: skip
    winner = max({**ended, **pairs}.items(), key=lambda item: item[1])
    assert tuple(best.ids) == winner[0] and best.score == pytest.approx(winner[1], abs=1e-4)


def test_what_is_wanted(generator: Writer) -> None:
    keeps_to_what_is_wanted(generator, SOURCES)


def test_targets_are_scored_in_pieces_as_at_once(generator: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "PIECE", 3)
    scores = generator.score("a mat and a door", source="the cat")
    ids = [one.id for one in scores]
    rows = log_probabilities(whole(generator, "the cat", [START, *ids[:-1]]))
    np.testing.assert_allclose([one.log_probability for one in scores], rows[np.arange(len(ids)), ids], atol=1e-5)
    likely = generator.next_token_probabilities("a mat", top=90, source="the cat")
    begun = [START, *generator.tokenizer.ids("a mat").tolist()]
    wanted = log_probabilities(whole(generator, "the cat", begun))[-1]
    found = [np.log(one.probability) for one in likely]
    np.testing.assert_allclose(found, [wanted[one.id] for one in likely], atol=1e-4)
