"""Encoder–decoders: sources read once, targets written token by token as at once, and beside transformers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import keeps_to_what_is_wanted, write

import handloom.tensor as ht
from handloom.errors import HandloomError, UsageError
from handloom.generate import decoder as module
from handloom.generate.conditional import CachedEncoderDecoder
from handloom.generate.generator import Writer
from handloom.generate.sampling import Sampling, log_probabilities
from handloom.generate.search import Beams, beam_search, generate
from handloom.models.config import Fields
from handloom.models.encoder_decoder import ConditionalLanguageModel, teach
from handloom.models.registry import FAMILIES, new_model
from handloom.models.safetensors_file import write_safetensors

START = 3
T5 = {"vocab_size": 90, "d_model": 20, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 3,
      "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "decoder_start_token_id": START,
      "pad_token_id": 0, "eos_token_id": 1}  # fmt: skip
BART = {"vocab_size": 90, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 32, "max_position_embeddings": 40,
        "decoder_start_token_id": START, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
        "forced_eos_token_id": None, "scale_embedding": True}  # fmt: skip
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("t5", T5),
    "mt5": ("mt5", {**T5, "feed_forward_proj": "gated-gelu", "num_decoder_layers": 3}),
    "bart": ("bart", BART),
    "marian": ("marian", BART),
}


def texts(*lengths: int, seed: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(8, 90, n).astype(np.int32) for n in lengths]


@cache
def model_of(name: str) -> ConditionalLanguageModel:
    model_type, values = CONFIGS[name]
    config = FAMILIES[model_type].read_config(Fields({"model_type": model_type, **values})).with_dropout(0.0)
    model = new_model(config, "text2text-generation", np.random.default_rng(5))
    rng = np.random.default_rng(6)
    model.load({name: value.numpy() + (0.2 * rng.standard_normal(value.shape)).astype(np.float32)
                for name, value in model.parameters().items()})  # fmt: skip
    assert isinstance(model, ConditionalLanguageModel)
    return model


@cache
def decoder_of(name: str, threads: int | None = None) -> CachedEncoderDecoder:
    return CachedEncoderDecoder(model_of(name), threads)


def whole(name: str, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Logits of all tokens of a target, without a cache."""
    batch = teach([(source.tolist(), [*target[1:].tolist(), 0])], int(target[0]))
    return model_of(name)({key: ht.tensor(value) for key, value in batch.items() if key != "labels"}).numpy()


@pytest.mark.parametrize("name", ["mt5", "bart"])
def test_written_token_by_token_as_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources in runs of 8 tokens, longer ones by themselves; past the room that there was; sequences moved."""
    monkeypatch.setattr(module, "SMALLEST_ROOM", 4)
    monkeypatch.setattr(module, "CHUNK", 8)
    sources, model = texts(3, 1, 19, 8), decoder_of(name)
    targets = [model.beginning(source) for source in sources]
    state, logits = model.start(sources)
    for step in range(9):
        following = logits.argmax(1).astype(np.int32)
        targets = [np.append(target, token) for target, token in zip(targets, following, strict=True)]
        logits = state.step(following)
        if step == 4:
            state.keep([2, 0, 2, 3])
            sources, targets, logits = ([x[i] for i in (2, 0, 2, 3)] for x in (sources, targets, logits))
            logits = np.stack(logits)
    for source, target, row in zip(sources, targets, logits, strict=True):
        np.testing.assert_allclose(row, whole(name, source, target)[-1], rtol=2e-4, atol=2e-4)


def test_a_target_has_the_same_bits_in_any_company() -> None:
    sources, rows = texts(5, 11, 2), []
    for several, threads in ((sources, 1), (sources[1:2], 2)):
        model = decoder_of("t5", threads)
        state, logits = model.start(several)
        rows.append([logits, *(state.step(np.full(len(several), token, np.int32)) for token in (9, 30))])
    for together, alone in zip(*rows, strict=True):
        np.testing.assert_array_equal(together[1], alone[0])


def test_logits_of_a_whole_target() -> None:
    [source, target] = texts(6, 13)
    with pytest.raises(UsageError, match="given what it reads"):
        decoder_of("t5").logits(target)
    pieces = list(decoder_of("t5").given([source]).logits(target))
    np.testing.assert_allclose(np.concatenate(pieces), whole("t5", source, target), rtol=2e-4, atol=2e-4)


def test_texts_that_cannot_be_read() -> None:
    model = decoder_of("t5")
    with pytest.raises(UsageError, match="no texts"):
        model.given([])
    with pytest.raises(HandloomError, match="text 2 has 0 tokens, and the model reads 1 to"):
        model.start(texts(2, 0))
    with pytest.raises(UsageError, match="2 sources and 1 beginning of targets: one"):
        model.given(texts(2, 2)).start(texts(1))


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """The T5 in a folder, with a tokenizer that puts the end token behind sources."""
    folder = write(tmp_path_factory.mktemp("t5"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["post_processor"]["single"].reverse()  # "$A <s>"
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    values = {**T5, "model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    weights = {name: value.numpy() for name, value in model_of("t5").parameters().items()}
    write_safetensors(folder / "model.safetensors", weights)
    return Writer.from_pretrained(folder)


def test_what_is_wanted(generator: Writer) -> None:
    keeps_to_what_is_wanted(generator, ["the cat", "a dog by the door"])


def test_texts_from_a_folder(generator: Writer) -> None:
    """A source is read with what its tokenizer puts after it; the text is the target's alone."""
    source = generator.encode("the cat")
    assert source[-1] == 0 and len(source) > 1
    found = generator.generate(["the dog", "the cat"], max_new_tokens=6)[1]
    wanted = generate(decoder_of("t5"), [source], Sampling(), 6, generator.ends)
    assert found.ids == [token.id for token in wanted]
    assert found.text.strip() == generator.tokenizer.decode(found.ids).strip()
    assert generator.beams("the cat", beams=2, max_new_tokens=3)[0].score is not None

    scores = generator.score("the mat", source="the cat")  # its end is told, too, from the start token on
    ids = np.array([one.id for one in scores], np.int32)
    assert ids[-1] == 0 and (scores[-1].start, scores[-1].end) == (0, 0)
    rows = log_probabilities(whole("t5", source, np.array([START, *ids[:-1]], np.int32)))
    np.testing.assert_allclose([one.log_probability for one in scores], rows[np.arange(len(ids)), ids], atol=2e-4)
    likely = generator.next_token_probabilities("the mat", source="the cat", top=90)
    wanted = log_probabilities(whole("t5", source, np.array([START, *ids[:-1]], np.int32)))[-1]
    found_there = [np.log(one.probability) for one in likely]
    np.testing.assert_allclose(found_there, [wanted[one.id] for one in likely], atol=2e-4)
    assert generator.next_token_probabilities(source="the cat")[0].id == found.ids[0]
    with pytest.raises(UsageError, match="given another one that it reads"):
        generator.score("the mat")


# --- beside transformers ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(name) → transformers' model with our tiny weights."""
    pytest.importorskip("torch")
    import transformers

    @cache
    def get(name: str) -> Any:
        folder: Path = tmp_path_factory.mktemp(name)
        model_type, values = CONFIGS[name]
        weights = {key: value.numpy() for key, value in model_of(name).parameters().items()}
        write_safetensors(folder / "model.safetensors", weights)
        transformers.AutoConfig.for_model(model_type, **values).save_pretrained(folder)
        auto = transformers.AutoModelForSeq2SeqLM
        return auto.from_pretrained(folder, attn_implementation="eager").eval()

    return get


@pytest.mark.parity
@pytest.mark.parametrize("name", list(CONFIGS))
def test_greedy_as_transformers(name: str, theirs: Any) -> None:
    import torch

    model, sources = decoder_of(name), texts(1, 12, 5)
    # without its cache, which counts as many layers for the decoder as the encoder has
    how = {"do_sample": False, "use_cache": False, "max_new_tokens": 16, "eos_token_id": 1, "forced_eos_token_id": None}
    for rules, ours in (({}, Sampling()), ({"no_repeat_ngram_size": 2}, Sampling(no_repeat_ngram=2)),
                        ({"repetition_penalty": 1.3}, Sampling(repetition_penalty=1.3))):  # fmt: skip
        found: list[list[int]] = [[] for _ in sources]
        for token in generate(model, sources, ours, 16, frozenset({1})):
            found[token.sequence].append(token.id)
        for source, got in zip(sources, found, strict=True):
            wanted = theirs(name).generate(torch.tensor(source[None].astype(np.int64)), **how, **rules)[0, 1:].tolist()
            assert got == wanted or tied(name, source, got, wanted), (rules, got, wanted)


def tied(name: str, source: np.ndarray, got: list[int], wanted: list[int]) -> bool:
    """Whether two targets part where the two likeliest words are within 1e-4 of each other."""
    at = next(i for i, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1])
    row = np.sort(whole(name, source, np.array([START, *got[:at]], np.int32))[-1])
    return bool(row[-1] - row[-2] <= 1e-4)


@pytest.mark.parity
@pytest.mark.parametrize(("name", "beams", "penalty", "early"), [
    ("t5", 3, 1.0, False), ("mt5", 4, 2.0, True), ("bart", 3, 0.5, "never"), ("marian", 3, 1.0, False),
])  # fmt: skip
def test_beams_as_transformers(name: str, beams: int, penalty: float, early: Any, theirs: Any) -> None:
    import torch

    model = decoder_of(name)
    for source in texts(1, 5, 12):
        found = theirs(name).generate(
            torch.tensor(source[None].astype(np.int64)), max_new_tokens=10, do_sample=False, use_cache=False,
            num_beams=beams, length_penalty=penalty, early_stopping=early, eos_token_id=[1, 30],
            forced_eos_token_id=None, return_dict_in_generate=True, output_scores=True, num_return_sequences=beams,
        )  # fmt: skip
        ours = beam_search(model, source, Sampling(), Beams(beams, penalty, early), 10, frozenset({1, 30}))
        np.testing.assert_allclose([f.score for f in ours], found.sequences_scores[: len(ours)], rtol=1e-4, atol=1e-5)
        for rank, got in enumerate(ours):
            wanted = found.sequences[rank, 1:].tolist()
            wanted = wanted[: next((i + 1 for i, token in enumerate(wanted) if token in (1, 30)), len(wanted))]
            near = [g.score for g in ours if g is not got and abs(g.score - got.score) <= 1e-4]
            assert got.ids == wanted or near, (rank, ours)
