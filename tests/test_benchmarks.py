"""The arithmetic that benchmarks rest on, by hand; and that every script can be asked for its options."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import handloom as hl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import bandwidth, encoders, figures, footprint, generality, kernels, wnut17  # noqa: E402

from handloom import costs  # noqa: E402
from handloom.tasks.text_classification import TextClassification  # noqa: E402

SCRIPTS = sorted(file.stem for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text("utf-8"))
TINY = encoders.Sizes(hidden=8, layers=2, heads=2, inner=32, words=50, positions=16)
SEQUENCES, LENGTH, LABELS = 3, 5, 4
CURVE = {1 << 20: 200.0, 1 << 22: 100.0, 1 << 24: 20.0}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_tells_its_options(name: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"benchmarks.{name}").main()
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_there_is_a_script_for_each_question() -> None:
    assert {"products", "step", "kernels", "generality", "threads", "start", "footprint", "finetuning"} <= set(
        SCRIPTS
    )


# --- figures --------------------------------------------------------------------------------------------------------


def test_spread_is_the_median_and_the_ends() -> None:
    assert figures.spread([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "low": 1.0, "high": 10.0, "count": 4}
    assert figures.shown(figures.spread([3.0, 1.0, 2.0])) == "2.00 (1.00 to 3.00)"


def test_what_was_found_is_kept_and_not_found_again(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    found = figures.Kept(file).row({"seed": 1, "task": "句"}, lambda: {"f1": 0.5})
    assert found == {"seed": 1, "task": "句", "f1": 0.5}
    again = figures.Kept(file)
    assert again.row({"seed": 1, "task": "句"}, lambda: {"f1": 0.0})["f1"] == 0.5
    assert again.row({"seed": 2, "task": "句"}, lambda: {"f1": 0.25})["f1"] == 0.25
    assert [row["seed"] for row in figures.Kept(file).rows] == [1, 2]
    assert figures.Kept(None).row({"seed": 1}, lambda: {"f1": 1.0}) == {"seed": 1, "f1": 1.0}


def test_workloads_are_read_and_written() -> None:
    workload = encoders.Workload.parse("BERT-base:16x128")
    assert (workload.sizes.hidden, workload.sequences, workload.length, workload.tokens) == (768, 16, 128, 2048)
    assert str(workload) == "BERT-base:16x128"
    for wrong in ("BERT-base", "BERT-base:16", "Other:1x2", "BERT-base:1x-2"):
        with pytest.raises(ValueError, match="write MODEL:SEQUENCESxLENGTH"):
            encoders.Workload.parse(wrong)


def test_sentences_of_a_conll_file() -> None:
    assert wnut17.sentences("a\tO\nb\tO\n\t\nc\tO\n\n\nd\tO") == ["a\tO\nb\tO", "c\tO", "d\tO"]


def test_packages_are_measured_by_their_recorded_files(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "code.py").write_bytes(b"x" * 3000)
    about = tmp_path / "small-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: small\nVersion: 1.5\n")
    (about / "RECORD").write_text("small/code.py,,\nsmall/gone.py,,\n")
    (tmp_path / "unrecorded").write_bytes(b"x" * 500)
    assert footprint.packages(tmp_path) == {"small 1.5": 0.003}
    assert footprint.folder_mb(tmp_path) == pytest.approx(0.0035, abs=2e-4)


# --- operations and bytes -------------------------------------------------------------------------------------------


def test_model_flops_of_bert() -> None:
    layer = 4 * 8 * 8 + 2 * 8 * 32  # Q, K, V, O and the two of the inner layer, for a token
    attention = 2 * LENGTH * 8  # scores and their sums
    head = 8 * 8 + 8 * LABELS  # pooler and classifier, for a sequence
    unread = (LENGTH - 1) * (8 * 8 + 2 * 8 * 32)  # of the last layer, after attention
    forward = 2 * SEQUENCES * (LENGTH * 2 * (layer + attention) - unread + head)
    assert TINY.flops(SEQUENCES, LENGTH, LABELS) == 3 * forward


def test_swiglu_is_as_large_as_berts_inner_layer() -> None:
    for name, sizes in encoders.SIZES.items():
        assert 3 * generality.swiglu_inner(sizes) == 2 * sizes.inner
        workload = encoders.Workload(name, 2, 16)
        assert generality.flops("BERT", workload) == generality.flops("pre-norm", workload)
        token = sizes.layers * (4 * sizes.hidden**2 + 2 * sizes.hidden * (sizes.inner + 16))
        assert generality.flops("BERT", workload) == 6 * 32 * (token + sizes.hidden * generality.LABELS)


@pytest.fixture(scope="module")
def tiny_step() -> list[costs.Work]:
    """The calls of a step of a tiny BERT."""
    task = TextClassification([str(i) for i in range(LABELS)])
    engine = encoders.engine_for(encoders.bert(TINY, LABELS), task, SEQUENCES * LENGTH, SEQUENCES, 1)
    engine.step([encoders.texts(SEQUENCES, LENGTH, TINY.words, LABELS)], 0, 1e-4)
    program = kernels.program_of(engine)
    return costs.works(program, {"tokens": [LENGTH] * SEQUENCES})


def test_the_steps_products_are_the_models_flops(tiny_step: list[costs.Work]) -> None:
    """Every product once forward and twice backward; attention, whose backward takes the scores again, aside."""
    products = 0
    for call in tiny_step:
        if call.label.startswith("product"):
            size, *more = call.label.split()[2:]
            times = 3 if more[:1] == ["×3"] else 1
            products += 2 * times * math.prod(map(int, size.split("×")))
    attention = 6 * SEQUENCES * LENGTH * TINY.layers * 2 * LENGTH * TINY.hidden
    assert products + attention == TINY.flops(SEQUENCES, LENGTH, LABELS)


def test_calls_that_are_known_by_hand(tiny_step: list[costs.Work]) -> None:
    tokens, hidden, heads = SEQUENCES * LENGTH, TINY.hidden, TINY.heads
    attention = next(call for call in tiny_step if call.label == "attention")
    read = 4 * (3 * tokens * hidden + (SEQUENCES + 1) + 4)  # q, k, v; starts; the random state
    assert sum(part.size for part in attention.reads) == read
    assert sum(part.size for part in attention.writes) == 4 * (tokens * hidden + tokens * heads)
    embedding = next(call for call in tiny_step if "take" in call.label)
    assert max(part.size for part in embedding.reads) == 4 * tokens * hidden  # rows that are taken, not the table


def test_a_product_and_a_sum() -> None:
    a, b = np.ones((24, 16), np.float32), np.ones((16, 40), np.float32)
    product = hl.compile(lambda a, b: hl.matmul(a, b))
    product(a, b)
    (call,) = costs.works(product.program, {})
    assert call.flops == 2 * 24 * 16 * 40
    assert call.bytes == 4 * (24 * 16 + 16 * 40 + 24 * 40)
    added = hl.compile(lambda x, y: x + x * y)
    added(a, a + 1)
    (call,) = costs.works(added.program, {})
    assert call.flops == 2 * a.size
    assert [part.size for part in (*call.reads, *call.writes)] == [a.nbytes] * 3


def test_operations_of_an_element() -> None:
    assert costs.elementwise("add") == costs.elementwise("negative") == 1
    assert 10 < costs.elementwise("exp") < costs.elementwise("erf") < 80
    assert 20 < costs.random_bits() < 80  # ten rounds of two wide products for four words


# --- memory and rooflines -------------------------------------------------------------------------------------------


def test_bandwidth_between_and_beyond_measured_points() -> None:
    assert bandwidth.at_distance(CURVE, 1 << 10) == pytest.approx(200.0)
    assert bandwidth.at_distance(CURVE, 1 << 21) == pytest.approx(math.sqrt(200.0 * 100.0))
    assert bandwidth.at_distance(CURVE, 1 << 30) == pytest.approx(20.0)


def call_of(kernel: str, read: costs.Range, written: costs.Range, flops: int = 0) -> costs.Work:
    return costs.Work(kernel, kernel, flops, (read,), (written,))


def test_bytes_come_as_fast_as_their_last_use_is_near() -> None:
    size = 1 << 20
    given, kept, result = (costs.Range(("arena", 0), i * size, size) for i in range(3))
    far = costs.Range(("input", 0), 0, 1 << 25)
    calls = [call_of("first", given, kept), call_of("second", kept, result), call_of("third", far, given)]
    _, second, third = bandwidth.Reuse(calls).seconds(CURVE)
    near = size / bandwidth.at_distance(CURVE, 2 * size) / 1e9  # since then the first has touched two buffers
    assert second == pytest.approx(near + size / 20e9)
    assert third == pytest.approx((1 << 25) / 20e9 + size / bandwidth.at_distance(CURVE, 3 * size) / 1e9)


def test_rooflines_are_the_greater_of_two_and_summed_by_kernel() -> None:
    part = costs.Range(("arena", 0), 0, 1000)
    calls = [call_of("a", part, part, 4_000_000), call_of("a", part, part, 1_000_000), call_of("b", part, part)]
    rows = kernels.rooflines(calls, {"a": 0.5, "b": 1.0}, ceiling=1.0, memory=[0.002, 0.003, 0.004])
    assert [row.kernel for row in rows] == ["b", "a"]
    assert (rows[1].calls, rows[1].gflop, rows[1].mb) == (2, pytest.approx(0.005), pytest.approx(0.004))
    assert rows[1].roof_ms == pytest.approx(4.0 + 3.0)
    assert (rows[0].roof_ms, rows[0].bound, rows[1].bound) == (pytest.approx(4.0), "memory", "arithmetic")


def test_a_layer_costs_few_kernels() -> None:
    found = kernels.kernels_a_layer(encoders.SIZES["MiniLM-L6"])
    assert 8 <= found["forward and backward"] <= kernels.MOST_KERNELS
