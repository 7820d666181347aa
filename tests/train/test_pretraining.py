"""Pre-training: from text to a model's folder, and everything on the way that can be wrong."""

from __future__ import annotations

import html
import json
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handloom.data.corpus import Piece
from handloom.data.token_file import TokenFile, write
from handloom.errors import HandloomError, UsageError
from handloom.models.registry import FAMILIES
from handloom.tasks.pretraining import OBJECTIVES, Choices, Windows
from handloom.text.tokenizer import Tokenizer
from handloom.text.vocabularies import learn
from handloom.train import loop, resuming
from handloom.train.estimators import TextClassifier
from handloom.train.pretraining import Pretrained, prepare, pretrain
from handloom.train.progress import silent
from handloom.train.run import read_log
from handloom.train.windows import Sampler, densest, held_out

WORDS = ["the", "cat", "saw", "a", "dog", "and", "small", "in", "old", "house", "by", "sea"]
TINY: dict[str, Any] = {
    "layers": 1, "hidden": 16, "heads": 2, "context": 16, "batch_size": 4, "steps": 6, "lr": 1e-2, "seed": 3,
    "precision": "f32", "listener": silent,
}  # fmt: skip


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(rng.integers(1, 20)))) + "." for _ in range(count)]


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Token files of tests are not the user's; the kernels' cache stays where it is."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setattr("handloom.train.corpora.home", lambda: home)
        yield home


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in sentences(80)))
    return path


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A character GPT that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    pretrain(text, out=out, model_type="gpt2", tokenizer="character", validate_every=2, **TINY)
    return out


# -- windows


def file_of(documents: list[list[int]], folder: Path, tokenizer: Tokenizer) -> TokenFile:
    """A token file of these documents, whose tokens are spelled by a character vocabulary."""
    pieces = [(0, Piece("".join(tokenizer.token(i) for i in document), True, True)) for document in documents]
    write(folder, ("all",), pieces, tokenizer)
    return TokenFile(folder / "all")


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    return learn("character", ["abcdefghijklmnopqrstuvwxyz. "], "bert")


@pytest.fixture
def numbers(letters: Tokenizer, tmp_path: Path) -> TokenFile:
    rng = np.random.default_rng(1)
    sizes = [30, 1, 1, 2, 50, 7, 7, 1, 24]
    return file_of([rng.integers(5, 30, size).tolist() for size in sizes], tmp_path, letters)


def test_an_epoch_sees_every_window_once(numbers: TokenFile, letters: Tokenizer) -> None:
    task = OBJECTIVES["causal"](letters, Choices(10))
    batches = Sampler(numbers, task, None, 2.0, 3, 3, densest(numbers.starts, 11), seed=5)
    assert (batches.count, batches.steps) == (12, 8)
    for epoch in range(2):
        windows = [window for number in range(4 * epoch, 4 * epoch + 4) for window in batches.step(number)]
        first = np.concatenate([window.first for window in windows])
        seen = (first[:, None] + np.arange(10)).reshape(-1) % len(numbers)
        assert len(set(seen.tolist())) == 120  # of 123: what is left over is less than a window
    again = Sampler(numbers, task, None, 2.0, 3, 3, 9, seed=5)
    assert (again.step(6)[0].first == batches.step(6)[0].first).all()
    assert (again.step(6)[0].first != again.step(2)[0].first).any()
    apart = Sampler(numbers, task, 8, 1.0, 3, 2, 9, seed=5)
    assert [len(part.first) for part in apart.step(6)] == [2, 1] and apart.accumulates
    assert (np.concatenate([part.first for part in apart.step(6)]) == batches.step(6)[0].first).all()


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_batches_fit_their_capacity_and_keep_documents_apart(
    name: str, numbers: TokenFile, tmp_path: Path
) -> None:
    style = {"causal": "gpt", "masked": "bert", "span-corruption": "t5", "denoising": "bart"}[name]
    tokenizer = learn("character", ["abcdefghijklmnopqrstuvwxyz. "], style)
    ids = [tokenizer.token_id(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
    documents = [[ids[number]] * size for number, size in enumerate([30, 1, 1, 2, 50, 7, 7, 1, 24, 12])]
    file = file_of(documents, tmp_path, tokenizer)  # each document is one letter, over and over
    task = OBJECTIVES[name](tokenizer, Choices(12, start=1))
    batches = Sampler(file, task, 20, 1.0, 4, 4, densest(file.starts, task.width + task.beyond), seed=0)
    special = set(tokenizer.special_ids)
    for number in range(20):
        batch = task.pack(batches.step(number)[0])
        sizes: dict[str, int] = {}
        for key, shape in task.symbols().items():
            sizes.setdefault(shape[0].removesuffix("+1"), len(batch[key]) - shape[0].endswith("+1"))
            assert len(batch[key]) - shape[0].endswith("+1") == sizes[shape[0].removesuffix("+1")]
            assert batch[key].dtype == np.int32
        assert all(size <= batches.capacity()[key] for key, size in sizes.items())
        for prefix in ("", "source_"):
            if f"{prefix}ids" not in batch:
                continue
            starts = batch[f"{prefix}starts"]
            for at, end in pairwise(starts):
                assert (batch[f"{prefix}positions"][at:end] == np.arange(end - at)).all()
                if name != "masked":  # there one token in a hundred is any
                    assert len(set(batch[f"{prefix}ids"][at:end].tolist()) - special) <= 1
                if name == "causal":
                    labels = set(batch["labels"][at:end].tolist()) - {-100}
                    assert labels <= set(batch["ids"][at:end].tolist())
        if name == "masked":
            assert (np.diff(batch["rows"]) > 0).all() and not set(batch["labels"].tolist()) & special
        if "source_ids" in batch:
            begins = batch["starts"][:-1]
            assert (batch["ids"][begins] == 1).all()
            inner = np.setdiff1d(np.arange(len(batch["ids"])), begins)
            assert (batch["ids"][inner] == batch["labels"][inner - 1]).all()


def test_validation_goes_through_the_text_once(numbers: TokenFile, letters: Tokenizer) -> None:
    task = OBJECTIVES["causal"](letters, Choices(10))
    batches = [task.pack(window) for window in held_out(numbers, task, 4, 10**6)]
    assert sum(len(batch["ids"]) for batch in batches) == len(numbers) - 1
    labels = np.concatenate([batch["labels"] for batch in batches])
    expected = numbers.tokens[1:].astype(np.int32)
    expected[numbers.starts[1:-1] - 1] = -100
    assert (labels == expected).all()
    some = list(held_out(numbers, task, 4, 30))
    assert sum(len(window.first) for window in some) == 3
    assert all((a.first == b.first).all() for a, b in zip(some, held_out(numbers, task, 4, 30), strict=True))


def test_the_densest_place() -> None:
    starts = np.array([0, 10, 11, 12, 13, 30])
    assert densest(starts, 4) == 4 + 1 + 1
    assert densest(starts, 1) == 1 + 1 + 1
    assert densest(np.array([0, 100]), 10) == 2 + 1
    windows = Windows(TokenFile.__new__(TokenFile), *(np.zeros(0, np.int64),) * 3)
    assert windows.seed == 0


# -- runs


def test_a_run_folder_is_a_model(whole: Path) -> None:
    about = json.loads((whole / "handloom.json").read_text())
    assert about["task"] == "text-generation" and about["steps"] == 6
    metrics = about["scores"]["metrics"]
    assert set(metrics) == {"loss", "perplexity", "bits_per_byte"}
    assert abs(np.exp(metrics["loss"]) - metrics["perplexity"]) < 1e-6
    history = [entry for entry in read_log(whole / "log.jsonl") if entry["event"] == "validation"]
    assert [entry["step"] for entry in history] == [2, 4, 6]
    assert history[-1]["metrics"]["loss"] < history[0]["metrics"]["loss"] < np.log(30)
    assert not (whole / "start").exists() and not (whole / "checkpoints").exists()
    assert "perplexity" in (whole / "report.html").read_text()


@pytest.mark.parametrize(("point", "number"), [("step 1", 0), ("step 3", 2), ("step 5", 4)])
def test_a_resumed_run_has_the_same_bits(
    whole: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, number: int
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(loop, "hook", lambda now: os.kill(os.getpid(), signal.SIGINT) if now == point else None)
    with pytest.raises(loop.Interrupted, match="handloom resume"):
        pretrain(text, out=out, model_type="gpt2", tokenizer="character", validate_every=2, **TINY)
    monkeypatch.setattr(loop, "hook", lambda now: None)
    moved = {"train": text} if number else None
    found = resuming.resume(out, threads=1, listener=silent, moved=moved)
    assert isinstance(found, Pretrained)
    assert f"<h1>{out.name}</h1>" in html.unescape(found._repr_html_() or "")
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (out / "tokenizer.json").read_bytes() == (whole / "tokenizer.json").read_bytes()
    old, new = (json.loads((run / "handloom.json").read_text())["scores"] for run in (whole, out))
    assert old == new


def test_a_checkpoint_reads_on(whole: Path, text: Path, tmp_path: Path) -> None:
    more = {**TINY, "steps": 4, "micro_batch_tokens": 32}
    for name in ("layers", "hidden", "heads"):
        del more[name]
    found = pretrain(text, model=whole, out=tmp_path / "more", **more)
    assert found.scores is not None and found.scores.before is not None
    before = json.loads((whole / "handloom.json").read_text())["scores"]["metrics"]["loss"]
    assert abs(found.scores.before["loss"] - before) < 1e-5
    assert found.scores["loss"] < before
    with pytest.raises(UsageError, match="is the folder of the model itself"):
        pretrain(text, model=whole, out=whole, overwrite=True, **more)


def test_finished_runs_and_changed_data(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resuming.resume(whole, listener=silent)
    assert isinstance(found, Pretrained) and found.scores is not None
    copy = tmp_path / "a.txt"
    copy.write_text(" ".join(sentences(30)))
    monkeypatch.setattr(loop, "hook", lambda now: os.kill(os.getpid(), signal.SIGINT) if now == "step 2" else None)
    with pytest.raises(loop.Interrupted):
        pretrain(copy, out=tmp_path / "run", model_type="llama", tokenizer="bpe", vocab_size=300, **TINY)
    monkeypatch.setattr(loop, "hook", lambda now: None)
    copy.write_text(" ".join(sentences(30, seed=9)))
    with pytest.raises(HandloomError, match="the train data is not what"):
        resuming.resume(tmp_path / "run", listener=silent)
    copy.unlink()
    with pytest.raises(HandloomError, match=r"train data .*a\.txt, which is not there any more.*--train PLACE"):
        resuming.resume(tmp_path / "run", listener=silent)


KINDS_OF_MODELS = [  # as many as there are
    (family, objective, tokenizer)
    for family, objective, tokenizer in (
        ("llama", "causal", "bpe"), ("bert", "masked", "wordpiece"), ("t5", "span-corruption", "bpe"),
        ("bart", "denoising", "bpe"),
    )
    if OBJECTIVES[objective].head_task in (FAMILIES[family].classes if family in FAMILIES else ())
]  # fmt: skip


@pytest.mark.parametrize(("family", "objective", "tokenizer"), KINDS_OF_MODELS)
def test_every_objective_teaches_its_kind_of_model(
    text: Path, tmp_path: Path, family: str, objective: str, tokenizer: str
) -> None:
    options = {"model_type": family, "tokenizer": tokenizer, "vocab_size": 420, "whole_words": True, **TINY, "steps": 8}
    found = pretrain(text, out=tmp_path / "run", validate_every=1, **options)
    history = [entry for entry in read_log(tmp_path / "run" / "log.jsonl") if entry["event"] == "validation"]
    assert history[-1]["metrics"]["loss"] < history[0]["metrics"]["loss"]
    assert found.task == OBJECTIVES[objective].head_task
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model_type"] == family and config["vocab_size"] == Tokenizer.load(tmp_path / "run").size


@pytest.mark.parametrize(("content", "options", "message"), [
    ("", {}, "holds no text"),
    ("short", {}, "fewer than one window of 17"),
    ('{"text": "fine"}\n{"text"', {}, r"a\.jsonl:2: malformed JSON"),
    ("text " * 40, {"heads": 3}, "hidden is 16, which 3 heads do not divide"),
    ("text " * 40, {"model_type": "gtp2"}, "did you mean 'gpt2'"),
    ("text " * 40, {"objective": "masked"}, "gpt2 cannot be pre-trained with masked: .*it can with causal"),
    ("text " * 40, {"objective": "cloze"}, "objective is 'cloze'"),
    ("text " * 40, {"vocab_size": 100, "tokenizer": "bpe"}, "needs 257 or more"),
    ("text " * 40, {"tokenizer": "nowhere"}, "tokenizer is 'nowhere'; it must be bpe, wordpiece"),
    ("text " * 40, {"label_smoothing": 0.1}, "unknown setting 'label_smoothing'"),
    ("text " * 40, {"batch_tokens": 8, "batch_size": None}, "batch_tokens is 8, less than one window of 16"),
    ("text " * 40, {"final_lr": 1.0}, "final_lr is 1.0"),
    ("text " * 40, {"key_value_heads": 1}, "gpt2 has no heads that share keys"),
    ("text " * 40, {"model": "x"}, "give either model"),
])  # fmt: skip
def test_what_is_wrong_leaves_nothing_behind(
    tmp_path: Path, content: str, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / ("a.jsonl" if content.startswith("{") else "a.txt")
    path.write_text(content)
    with pytest.raises(HandloomError, match=message):
        pretrain(path, out=tmp_path / "run", **{**TINY, "model_type": "gpt2", "tokenizer": "character", **options})
    assert not (tmp_path / "run").exists()


def test_tokens_that_objectives_need(letters: Tokenizer) -> None:
    plain = learn("character", ["abc"], "gpt")
    with pytest.raises(HandloomError, match=r"no mask token \(usually \[MASK\]\)"):
        OBJECTIVES["masked"](plain, Choices(16))
    with pytest.raises(HandloomError, match=r"needs 1 sentinels, <extra_id_0> and so on, and the tokenizer has 0"):
        OBJECTIVES["span-corruption"](letters, Choices(16))
    with pytest.raises(HandloomError, match=r"no mask token \(usually <mask>\)"):
        OBJECTIVES["denoising"](plain, Choices(16))
    with pytest.raises(HandloomError, match="leaves no room for text"):
        OBJECTIVES["masked"](letters, Choices(2))


@pytest.mark.parity
def test_transformers_opens_it_and_finds_the_same_loss(whole: Path, text: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

    tokenizer = transformers.AutoTokenizer.from_pretrained(whole)
    model = transformers.AutoModelForCausalLM.from_pretrained(whole).eval()
    options = {name: value for name, value in TINY.items() if name != "listener"}
    held = prepare(text, model_type="gpt2", tokenizer="character", **options).valid
    total = count = 0.0
    for at in range(0, len(held) - 1, 16):
        window = torch.from_numpy(held.tokens[at : at + 17].astype(np.int64))
        begins = np.flatnonzero(np.isin(np.arange(at, at + len(window)), held.starts)).tolist()
        edges = sorted({0, *begins, len(window) - 1} - {len(window)})
        for start, end in pairwise(edges):  # each document's part is a sequence of its own
            logits = model(window[None, start:end]).logits[0]
            labels = window[start + 1 : end + 1].clone()
            if start + len(labels) in begins:
                labels[-1] = -100
            total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum").detach())
            count += int((labels != -100).sum())
    found = json.loads((whole / "handloom.json").read_text())["scores"]["metrics"]["loss"]
    assert abs(total / count - found) < 1e-5
    assert tokenizer("a cat")["input_ids"] == Tokenizer.load(whole).encode("a cat").ids.tolist()


def test_it_can_be_fine_tuned(whole: Path) -> None:
    rows = [(text, "cat" if "cat" in text else "none") for text in sentences(20, seed=4)]
    tuned = TextClassifier.from_pretrained(whole, precision="f32")
    tuned.fit(rows, epochs=0.3, batch_size=4, before=False, listener=silent)
    assert tuned.predict("a cat").label in ("cat", "none")
