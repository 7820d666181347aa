"""The cache: what is read bit by bit is what is read at once; and token for token beside transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CONFIGS, config_of, decoder_of, model_of

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.generate import decoder as module
from handloom.generate.decoder import CachedDecoder
from handloom.generate.sampling import Sampling
from handloom.generate.search import Beams, beam_search, generate

random = np.random.default_rng(3)


def prompts(*lengths: int) -> list[np.ndarray]:
    return [random.integers(8, 90, n).astype(np.int32) for n in lengths]


def whole(decoder: CachedDecoder, ids: np.ndarray) -> np.ndarray:
    """Logits of all tokens, without a cache."""
    batch = {"ids": ids, "positions": np.arange(len(ids), dtype=np.int32), "starts": np.array([0, len(ids)], np.int32)}
    return decoder.program.model({name: ht.tensor(value) for name, value in batch.items()}).numpy()


@pytest.mark.parametrize("name", list(CONFIGS))
def test_read_piece_by_piece_as_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of unequal lengths, cut into runs of 8 tokens; then tokens one by one, past the room that there was."""
    decoder = decoder_of(name)
    monkeypatch.setattr(module, "SMALLEST_ROOM", 8)
    monkeypatch.setattr(module, "CHUNK", 8)
    texts = prompts(3, 1, 19, 8)
    state, logits = decoder.start(texts)
    for text, row in zip(texts, logits, strict=True):
        np.testing.assert_allclose(row, whole(decoder, text)[-1], rtol=2e-4, atol=2e-4)
    for _ in range(9):
        following = logits.argmax(1).astype(np.int32)
        texts = [np.append(text, token) for text, token in zip(texts, following, strict=True)]
        logits = state.step(following)
    for text, row in zip(texts, logits, strict=True):
        np.testing.assert_allclose(row, whole(decoder, text)[-1], rtol=2e-4, atol=2e-4)


def test_a_sequence_has_the_same_bits_in_any_company() -> None:
    decoder = decoder_of("llama")
    texts = prompts(5, 11, 2)
    rows = []
    for several in (texts, texts[1:2]):
        state, _ = decoder.start(several)
        rows.append([state.step(np.full(len(several), token, np.int32)) for token in (9, 30)])
    for together, alone in zip(*rows, strict=True):
        np.testing.assert_array_equal(together[1], alone[0])
    many = [decoder_of("llama", threads=n).start(texts)[1].tobytes() for n in (1, 2)]
    assert len(set(many)) == 1


def test_sequences_are_kept_dropped_and_doubled() -> None:
    decoder = decoder_of("gpt2")
    texts = prompts(4, 7, 2)
    state, _ = decoder.start(texts)
    state.keep([2, 0, 2])
    got = state.step(np.array([11, 12, 13], np.int32))
    for row, number, token in zip(got, (2, 0, 2), (11, 12, 13), strict=True):
        fresh, _ = decoder.start([texts[number]])
        np.testing.assert_array_equal(row, fresh.step(np.array([token], np.int32))[0])


def test_logits_of_a_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCORED", 5)
    decoder, [text] = decoder_of("llama"), prompts(17)
    pieces = list(decoder.logits(text))
    assert [len(piece) for piece in pieces] == [5, 5, 5, 2]
    np.testing.assert_allclose(np.concatenate(pieces), whole(decoder, text), rtol=2e-4, atol=2e-4)


def test_prompts_that_do_not_fit() -> None:
    decoder = decoder_of("llama")
    with pytest.raises(HandloomError, match="the prompt has 64 tokens, and the model's context holds 64"):
        decoder.start(prompts(64))
    with pytest.raises(HandloomError, match="no tokens"):
        decoder.start([np.zeros(0, np.int32)])
    [text] = prompts(60)
    assert len(list(generate(decoder, [text], Sampling(), 99))) == 4
    assert sum(map(len, decoder.logits(prompts(64)[0]))) == 64


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(family) → transformers' model with our tiny weights."""
    pytest.importorskip("torch")
    import transformers
    from safetensors.numpy import save_file

    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            folder: Path = tmp_path_factory.mktemp(name)
            model = model_of(name)
            weights = {key: value.numpy() for key, value in model.parameters().items()}
            save_file(weights, folder / "model.safetensors", {"format": "pt"})
            transformers.AutoConfig.for_model(**config_of(name)).save_pretrained(folder)
            made[name] = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        return made[name]

    return get


def same_or_tied(ours: list[int], wanted: list[int], decoder: CachedDecoder, prompt: np.ndarray) -> None:
    """Equal tokens up to a place where the two likeliest are within 1e-4 of each other."""
    if ours == wanted:
        return
    at = next((i for i, pair in enumerate(zip(ours, wanted, strict=False)) if pair[0] != pair[1]), None)
    assert at is not None, (ours, wanted)
    top = np.sort(whole(decoder, np.concatenate([prompt, np.array(ours[:at], np.int32)]))[-1])[-2:]
    assert top[1] - top[0] <= 1e-4, (at, ours, wanted)


@pytest.mark.parity
@pytest.mark.parametrize("name", list(CONFIGS))
def test_greedy_as_transformers(name: str, theirs: Any) -> None:
    import torch

    decoder = decoder_of(name)
    for rules in ({}, {"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}):
        for prompt in prompts(1, 12):
            wanted = theirs(name).generate(
                torch.tensor(prompt[None].astype(np.int64)), max_new_tokens=16, do_sample=False, pad_token_id=0, **rules
            )[0, len(prompt) :].tolist()
            how = Sampling(
                repetition_penalty=rules.get("repetition_penalty", 1.0),
                no_repeat_ngram=int(rules.get("no_repeat_ngram_size", 0)),
            )
            ours = [token.id for token in generate(decoder, [prompt], how, 16, frozenset({7}))]
            same_or_tied(ours, wanted, decoder, prompt)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "beams", "penalty", "early"),
    [
        ("gpt2", 3, 1.0, False), ("mistral", 3, 1.0, False),
        ("llama", 4, 2.0, True), ("llama", 3, -0.5, "never"), ("llama", 2, 0.5, "never"),
    ],
)  # fmt: skip
def test_beams_as_transformers(name: str, beams: int, penalty: float, early: Any, theirs: Any) -> None:
    import torch

    decoder = decoder_of(name)
    for number, prompt in enumerate(prompts(1, 5, 12)):
        ends = [7, 30, 41][: 1 + number % 3]
        found = theirs(name).generate(
            torch.tensor(prompt[None].astype(np.int64)), max_new_tokens=10, do_sample=False, num_beams=beams,
            length_penalty=penalty, early_stopping=early, pad_token_id=0, eos_token_id=ends,
            return_dict_in_generate=True, output_scores=True, num_return_sequences=beams,
        )  # fmt: skip
        ours = beam_search(decoder, prompt, Sampling(), Beams(beams, penalty, early), 10, frozenset(ends))
        np.testing.assert_allclose([f.score for f in ours], found.sequences_scores[: len(ours)], rtol=1e-4, atol=1e-5)
        for rank, got in enumerate(ours):
            wanted = found.sequences[rank, len(prompt) :].tolist()
            wanted = wanted[: next((i + 1 for i, token in enumerate(wanted) if token in ends), len(wanted))]
            near = [g.score for g in ours if g is not got and abs(g.score - got.score) <= 1e-4]
            assert got.ids == wanted or near, (rank, ours)
