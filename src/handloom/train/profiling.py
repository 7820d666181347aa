"""Where the time of a step goes, kernel by kernel, beside what this machine can do at most."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handloom.ceilings import choose, measured
from handloom.compiler import CompiledProgram, Executable
from handloom.costs import Lengths, Work, works
from handloom.data.examples import CHOICE, GENERATION, QUESTION, RELATION, SIMILARITY, TEXT, TOKEN
from handloom.errors import HandloomError
from handloom.models.registry import load_config
from handloom.nn import Module
from handloom.runtime import profile
from handloom.tasks.continuing import Continuing, bare
from handloom.tasks.grouped import Group, Grouped
from handloom.tasks.matching import Compared, Matching
from handloom.tasks.multiple_choice import MultipleChoice
from handloom.tasks.question_answering import QuestionAnswering
from handloom.tasks.relation_extraction import RelationExtraction
from handloom.tasks.rewriting import PairFeature, Rewriting
from handloom.tasks.task import Feature, Task
from handloom.tasks.text_classification import TextClassification
from handloom.tasks.text_generation import TextGeneration
from handloom.tasks.token_classification import TokenClassification
from handloom.text.encoding import Ints
from handloom.train import modeling
from handloom.train.batches import capacity
from handloom.train.engine import Engine
from handloom.train.estimator import Estimator
from handloom.train.estimators import ESTIMATORS
from handloom.train.optimisers import optimiser

STARTS = {"tokens": "starts", "source_tokens": "source_starts"}
"""Where the sequences of packed tokens begin, by the symbol of the tokens."""
PRODUCTS = ("dot", "attention", "attention_backward")  # kernels whose operations the model needs
WARM = 2
"""Steps that do not count: the first one compiles."""

KINDS = {
    "dot": "matrix products",
    "attention": "attention",
    "attention_backward": "attention",
    "loop": "element-wise code, norms, updates",
    "scatter": "gradients of embeddings",
    "put": "rows of tables",
    "replay": "rows of tables",
}
"""By the first word of a kernel's name; all else is "the rest"."""


@dataclass(frozen=True)
class Kernel:
    """All calls of one kernel in a step: GFLOP and MB (of distinct buffers) in all, seconds on the clock."""

    name: str
    label: str
    calls: int
    seconds: float
    gflop: float
    mb: float

    @property
    def kind(self) -> str:
        return KINDS.get(self.name.split(".")[0], "the rest")

    @property
    def gflops(self) -> float:
        return self.gflop / self.seconds if self.seconds else 0.0

    @property
    def gbs(self) -> float:
        return self.mb / 1e3 / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profiled:
    """step_seconds: the median on the clock, without measuring kernels; model_gflop: of products and attention;
    ceilings: GFLOP/s by precision; arena: bytes of intermediate values."""

    kernels: list[Kernel]
    step_seconds: float
    tokens: int
    model_gflop: float
    precision: str
    ceilings: dict[str, float]
    arena: int
    program: CompiledProgram

    @property
    def utilisation(self) -> float:
        """Model FLOPs a second, as a share of the ceiling of the precision."""
        return self.model_gflop / self.step_seconds / self.ceilings[self.precision]

    def by_kind(self) -> dict[str, float]:
        """Seconds by kind, the longest first."""
        sums: dict[str, float] = {}
        for kernel in self.kernels:
            sums[kernel.kind] = sums.get(kernel.kind, 0.0) + kernel.seconds
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def to_dict(self) -> dict[str, Any]:
        rows = [{**asdict(k), "kind": k.kind, "gflops": k.gflops, "gbs": k.gbs} for k in self.kernels]
        return {
            "step_seconds": self.step_seconds, "tokens": self.tokens,
            "tokens_per_second": self.tokens / self.step_seconds,
            "model_gflop": self.model_gflop, "utilisation": self.utilisation, "precision": self.precision,
            "ceilings": self.ceilings, "arena_bytes": self.arena, "seconds_by_kind": self.by_kind(), "kernels": rows,
        }  # fmt: skip


UNTRAINED: dict[str, Callable[[], Task]] = {
    TEXT: lambda: TextClassification(["a", "b"]),
    TOKEN: lambda: TokenClassification(["O", "B-X", "I-X"]),
    RELATION: lambda: RelationExtraction(["a", "b"]),
    QUESTION: QuestionAnswering,
    SIMILARITY: Matching,
    CHOICE: MultipleChoice,
    GENERATION: lambda: TextGeneration(None),
}
"""Tasks of models that were not trained for one."""


def made_up(sequences: int, length: int, words: int, task: Task, seed: int = 0) -> list[Feature]:
    """Features of random tokens with the label 0; two sequences each, where a task takes several together."""
    rng = np.random.default_rng(seed)
    count = -(-sequences // 2) if isinstance(task, Grouped) else sequences
    drawn = [rng.integers(words // 30, words, (2, length + 1)).astype(np.int32) for _ in range(count)]
    return [_feature(task, index, own, other) for index, (own, other) in enumerate(drawn)]


def _feature(task: Task, index: int, ids: Ints, others: Ints) -> Feature:
    """ids, others i32[length + 1], of which a decoder is to foretell the last."""
    coded, other, length = bare(ids[:-1]), (bare(others[:-1]),), len(ids) - 1
    places = np.arange(length, dtype=np.int32)
    if isinstance(task, Rewriting):
        return PairFeature(coded, index, coded.ids, places, length, None, None, coded.ids)
    if isinstance(task, Continuing):
        return Feature(coded, index, ids[1:], places, length, places, places)
    if isinstance(task, Matching):
        keys = (2 * index, 2 * index + 1)
        return Compared(coded, index, None, places, length, None, None, other, keys, np.array(keys[1:]))
    if isinstance(task, Grouped):
        return Group(coded, index, np.array(0, np.int32), places, length, None, None, other)
    rows = places[:2] if isinstance(task, RelationExtraction) else places if task.rows == "rows" else None
    shape = (*(() if task.label_rows == "sequences" else (length,)), *task.label_shape)
    return Feature(coded, index, np.zeros(shape, np.int32), places, length, rows, places)


def profile_model(
    folder: str | os.PathLike[str],
    task: str | None = None,
    sequences: int = 32,
    length: int = 32,
    steps: int = 5,
    *,
    training: bool = True,
    threads: int | None = None,
    precision: str = "auto",
) -> Profiled:
    """Where the time of a step of a model goes, on a batch of made-up tokens; AdamW, clipping at 1.

    task: for a model that was not trained for one; default: text-classification, with two labels. The model in the
    folder stays as it is. Raises HandloomError where texts of this length do not fit the model.
    """
    place = Path(folder)
    about = modeling.read_about(place)
    name = task or (about["task"] if about else load_config(place).head) or "text-classification"
    estimator: Estimator = ESTIMATORS[name](place, None, threads, precision)
    if length > estimator.max_length:
        raise HandloomError(f"texts of {length} tokens do not fit {place}: it takes {estimator.max_length}")
    chosen: Task = estimator.task or UNTRAINED[name]()
    model: Module = estimator.model or modeling.build(place, chosen, 0)[0]
    batch = made_up(sequences, length, estimator.config.vocab_size, chosen)
    rule = optimiser("adamw", 0.01) if training else None
    room = capacity(sequences * length, sequences)
    engine = Engine(model, chosen, rule, threads=threads, capacity=room, precision=choose(estimator.precision))
    return profile_step(engine, batch, steps, training=training)


def profile_step(engine: Engine, batch: Sequence[Feature], steps: int = 5, *, training: bool = True) -> Profiled:
    """Measures a step of training, or an evaluation of the batch. Raises HandloomError on the reference backend."""
    number = 0

    def train() -> None:
        nonlocal number
        engine.step([batch], number, 0.0)
        number += 1

    def ask() -> None:
        engine.ask(batch)

    name = "step" if training else "evaluate"
    packed = engine.pack(batch)
    lengths = {tokens: np.diff(packed[starts]).tolist() for tokens, starts in STARTS.items() if starts in packed}
    return profile_calls(train if training else ask, lambda: engine.program(name), lengths, steps, engine.precision)


def profile_calls(
    run: Callable[[], object], made: Callable[[], Executable], lengths: Lengths, steps: int, precision: str
) -> Profiled:
    """Measures the kernels of a compiled function: `run` calls it once, `made` gives the program of the last call, and
    `lengths` are those of its sequences, as `works` takes them. Raises HandloomError on the reference backend."""
    for _ in range(WARM):
        run()
    program = made()
    if not isinstance(program, CompiledProgram):
        raise HandloomError("the reference backend has no kernels to be profiled; unset HANDLOOM_BACKEND")
    plain: list[float] = []
    times: dict[str, list[float]] = {}
    for _ in range(steps):
        begin = time.perf_counter()
        run()
        plain.append(time.perf_counter() - begin)
        with profile.collect() as collected:
            run()
        for row in collected.rows():
            times.setdefault(row.name, []).append(row.seconds)
    calls = works(program, lengths)
    kernels = _gathered(calls, {name: statistics.median(found) for name, found in times.items()})
    flops = sum(call.flops for call in calls if call.kernel.split(".")[0] in PRODUCTS)
    return Profiled(
        kernels, statistics.median(plain), sum(map(sum, lengths.values())), flops / 1e9, precision, dict(measured()),
        program.plan.bytes if program.plan else 0, program,
    )  # fmt: skip


def _gathered(calls: Sequence[Work], seconds: dict[str, float]) -> list[Kernel]:
    rows: dict[str, list[Work]] = {}
    for call in calls:
        rows.setdefault(call.kernel, []).append(call)
    found = []
    for name, own in rows.items():
        label = max(own, key=lambda call: call.flops).label
        gflop, mb = sum(call.flops for call in own) / 1e9, sum(call.bytes for call in own) / 1e6
        found.append(Kernel(name, label, len(own), seconds.get(name, 0.0), gflop, mb))
    return sorted(found, key=lambda kernel: -kernel.seconds)


# --- a picture of memory --------------------------------------------------------------------------------------------

WIDTH, HEIGHT, MARGIN = 1200, 640, 70
COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c755f")


def memory_picture(program: CompiledProgram) -> str:
    """The plan of a program's memory as SVG: buffers over the waves of the step, from their first use to their last."""
    look = program.look
    assert look is not None
    lives = look.lives()
    waves, total = max(look.wave, default=0) + 1, max(look.arena, 1)
    across, up = (WIDTH - 2 * MARGIN) / waves, (HEIGHT - 2 * MARGIN) / total
    parts = []
    for index, life in enumerate(sorted(lives, key=lambda life: life.offset)):
        x, width = MARGIN + life.first * across, (life.last + 1 - life.first) * across
        y, height = HEIGHT - MARGIN - (life.offset + life.size) * up, life.size * up
        title = f"{life.name}: {life.size / 1e6:,.2f} MB, waves {life.first} to {life.last}"
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.2f}" width="{max(width, 0.5):.1f}" height="{max(height, 0.2):.2f}" '
            f'fill="{COLOURS[index % len(COLOURS)]}"><title>{title}</title></rect>'
        )
    text = (
        f'<text x="{MARGIN}" y="40" font-size="20">Memory of intermediate values: {total / 1e6:,.1f} MB, '
        f"{len(lives):,} buffers</text>"
        f'<text x="{MARGIN}" y="{HEIGHT - 25}" font-size="14">waves of the step, 0 to {waves - 1} →</text>'
        f'<text x="20" y="{HEIGHT - MARGIN}" font-size="14" transform="rotate(-90 20 {HEIGHT - MARGIN})">bytes →</text>'
    )
    frame = (
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{WIDTH - 2 * MARGIN}" height="{HEIGHT - 2 * MARGIN}" fill="none" '
        'stroke="#888"/>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>{"".join(parts)}{frame}{text}</svg>\n'
    )
