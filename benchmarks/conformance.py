"""The conformance matrix: what every family of models is held to, against transformers and against itself.

    python -m benchmarks.conformance                       (needs the extra `parity`; docs/families.md is its output)
    python -m benchmarks.conformance --only mpnet,electra
    python -m benchmarks.conformance --write docs/families.md

Each check of CHECKS takes the cases of a family (benchmarks.families) and raises AssertionError; the tests walk the
same table. The first case of a family is compiled; its other tasks and variants run on the reference, which takes a
tenth of the time, and kernels have tests of their own. A cell that is neither ✓ nor – makes the command, and the
tests, fail.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import handloom.tensor as ht
from benchmarks.families import AUTO, TINY, Array, Case, cases, run_transformers
from handloom.compiler import native_driver
from handloom.generate.conditional import CachedEncoderDecoder
from handloom.generate.decoder import CachedDecoder
from handloom.generate.sampling import Sampling
from handloom.generate.search import Beams, beam_search, generate
from handloom.models.registry import FAMILIES
from handloom.models.safetensors_file import write_safetensors
from handloom.runtime import pool
from handloom.tasks.task import Task
from handloom.tensor import Tensor
from handloom.train import loop
from handloom.train.engine import Engine
from handloom.train.loop import Loop
from handloom.train.optimisers import adamw
from handloom.train.progress import silent
from handloom.train.run import RunFolder
from handloom.train.settings import Settings
from handloom.train.stopping import Interrupted

Tree = dict[str, Tensor]
GENERATING = frozenset({"text-generation", "text2text-generation"})
STEPS = 4
SETTINGS = Settings(lr=1e-2, schedule="constant", warmup=0, precision="f32")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "families.md"


def loss_of(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """(sum, weight): a language model's own loss, a classifier's cross-entropy."""
    if hasattr(model, "loss"):
        return model.loss(model.encode(batch), batch["labels"])  # type: ignore[no-any-return]
    return ht.cross_entropy(model(batch), batch["labels"])


def shapes(batch: dict[str, Array]) -> dict[str, tuple[str, ...]]:
    """The symbolic shapes of a packed batch."""
    rows = "tokens" if len(batch["labels"]) == len(batch["ids"]) else "sequences"
    known = {"starts": ("sequences+1",), "source_starts": ("sequences+1",), "labels": (rows,)}
    return {name: known.get(name, ("sources",) if name.startswith("source") else ("tokens",)) for name in batch}


CAPACITY = {"tokens": 64, "sequences": 8, "sources": 64}


@cache
def ours(case: Case) -> Any:
    return case.ours(dropout=0.0)


@cache
def gradient_program(case: Case) -> Any:
    """Of the mean loss and every parameter's gradient. Checks share it: to compile a program is most of their time."""
    model = ours(case)

    def step(parameters: Tree, batch: Tree) -> Any:
        def loss(parameters: Tree) -> Tensor:
            with model.bound(parameters):
                total, weight = loss_of(model, batch)
            return total / weight

        return ht.value_and_grad(loss)(parameters)

    return ht.compile(step, symbols={"batch": shapes(case.batch)}, capacity=CAPACITY, precision="f32")


def gradients_of(case: Case, compiled: bool = True) -> tuple[float, dict[str, Array]]:
    """The mean loss and every parameter's gradient."""
    program = gradient_program(case)
    value, gradients = (program if compiled else program.function)(ours(case).parameters(), _tensors(case.batch))
    return float(value.numpy()), {name: gradient.numpy() for name, gradient in gradients.items()}


@cache
def logits_program(case: Case, compiled: bool = True) -> Callable[[dict[str, Array]], Array]:
    """Batches to logits, compiled once for every size."""
    model = ours(case)
    inputs = {name: shape for name, shape in shapes(case.batch).items() if name != "labels"}
    program = model
    if compiled:
        program = ht.compile(lambda batch: model(batch), symbols={"batch": inputs}, capacity=CAPACITY, precision="f32")
    return lambda batch: program(_tensors({name: batch[name] for name in inputs})).numpy()


# --- the checks -----------------------------------------------------------------------------------------------------


def logits(family: Sequence[Case]) -> None:
    """Those of transformers in f64, to 1e-4."""
    for case in family:
        found = logits_program(case, case is family[0])(case.batch)
        np.testing.assert_allclose(found, case.theirs.logits, rtol=1e-4, atol=2e-5, err_msg=str(case))


def every_gradient(family: Sequence[Case]) -> None:
    """‖Δ‖ ≤ 1e-4 · max(‖g‖, 1e-3 · global norm), for every parameter."""
    for case in family:
        loss, gradients = gradients_of(case, compiled=case is family[0])
        np.testing.assert_allclose(loss, case.theirs.loss, rtol=1e-5, err_msg=str(case))
        agree(gradients, by_our_names(ours(case), case.theirs.gradients), str(case))


def by_our_names(model: Any, gradients: dict[str, Array]) -> dict[str, Array]:
    """transformers may name a table of words that is the output layer, too, by the latter."""
    names = {id(value): name for name, value in model.parameters().items()}
    tied = {copy: model.output_bias if copy.endswith("bias") else model.output_weight for copy in model.copies}
    own = {copy: names[id(value)] for copy, value in tied.items() if value is not None}
    return {own.get(name, name): gradient for name, gradient in gradients.items()}


def agree(found: dict[str, Array], theirs: dict[str, Array], where: str) -> None:
    total = np.sqrt(sum(float(np.sum(gradient**2)) for gradient in theirs.values()))
    assert total > 0 and set(theirs) <= set(found), where
    for name, gradient in found.items():
        if name.endswith("final_logits_bias"):  # which transformers does not train
            continue
        expected = theirs.get(name, np.zeros(gradient.shape))
        allowed = 1e-4 * max(float(np.linalg.norm(expected)), 1e-3 * total)
        assert np.linalg.norm(gradient - expected) <= allowed, f"{where}: {name}"


def alone_as_packed(family: Sequence[Case]) -> None:
    """The same bits where it is compiled; NumPy's products of few rows round otherwise than those of many."""
    for case in family:
        compiled, batch = case is family[0], case.batch
        program = logits_program(case, compiled)
        together = program(batch)
        for number, (begin, end) in enumerate(pairwise(batch["starts"].tolist())):
            same = together[begin:end] if len(together) == len(batch["ids"]) else together[number : number + 1]
            found = program(alone(batch, number))
            np.testing.assert_allclose(found, same, rtol=0, atol=0 if compiled else 2e-5, err_msg=str(case))


def alone(batch: dict[str, Array], number: int) -> dict[str, Array]:
    """One sequence of a batch by itself, without labels."""
    found: dict[str, Array] = {}
    for starts in ("starts", "source_starts"):
        if starts in batch:
            begin, end = batch[starts][number : number + 2]
            side = [name for name in batch if name.startswith("source") == starts.startswith("source")]
            found |= {name: batch[name][begin:end] for name in side if name not in (starts, "labels")}
            found[starts] = np.array([0, end - begin], np.int32)
    return found


def threads_equal(family: Sequence[Case]) -> None:
    """Loss and gradients of one to four threads, bit for bit."""
    case = family[0]
    first, gradients = gradients_of(case)
    program = gradient_program(case).program.plan.program
    for threads in (1, 2, 3, 4):
        program.pool = pool.shared(native_driver(), threads)
        loss, more = gradients_of(case)
        assert loss == first, case
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, more[name], err_msg=f"{case}: {name}")


def saved_and_opened(family: Sequence[Case]) -> None:
    """transformers misses nothing in what we save, finds nothing that it does not know, and computes our logits."""
    import transformers

    for case in family:
        model = ours(case)
        with TemporaryDirectory() as name:
            save(model, Path(name))
            auto = getattr(transformers, AUTO[case.task])
            theirs, said = auto.from_pretrained(name, attn_implementation="eager", output_loading_info=True)
        assert not any(said[f"{kind}_keys"] for kind in ("missing", "unexpected", "mismatched")), f"{case}: {said}"
        found = run_transformers(theirs.eval(), case.batch)
        np.testing.assert_allclose(found.logits, case.theirs.logits, rtol=1e-4, atol=2e-5, err_msg=str(case))


def save(model: Any, folder: Path) -> None:
    """config.json and model.safetensors, without a tokenizer."""
    write_safetensors(folder / "model.safetensors", {name: value.numpy() for name, value in model.parameters().items()})
    config = model.config.to_json(model.architecture, model.config.labels or None)
    (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")


NEW, BEAMS = 8, 3


def generates(family: Sequence[Case]) -> None:
    """Token for token as transformers: greedy, and by beams. A divergence counts only where the two words in question
    differ by more than 1e-4 in transformers' own scores."""
    import torch

    for case in family:
        if case.task not in GENERATING:
            continue
        two_sided, theirs = case.task == "text2text-generation", case.model
        decoder: Any = CachedEncoderDecoder(ours(case)) if two_sided else CachedDecoder(ours(case))
        ids, starts = (case.batch[f"source_{name}" if two_sided else name] for name in ("ids", "starts"))
        for begin, end in pairwise(starts.tolist()):
            prompt = ids[begin:end]
            given_words = 1 if two_sided else len(prompt)
            given = {"input_ids": torch.from_numpy(prompt.astype(np.int64))[None],
                     "attention_mask": torch.ones(1, len(prompt), dtype=torch.long)}  # fmt: skip
            how = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": None, "bos_token_id": None}
            greedy = [token.id for token in generate(decoder, [prompt], Sampling(), NEW)]
            wanted = theirs.generate(**given, **how, pad_token_id=0)[0, given_words:].tolist()
            assert same_words(theirs, prompt, greedy, wanted), f"{case}: {greedy}, not {wanted}"
            found = beam_search(decoder, prompt, Sampling(), Beams(BEAMS), NEW)[0]
            wanted = theirs.generate(**given, **how, pad_token_id=0, num_beams=BEAMS)[0, given_words:].tolist()
            apart = abs(likelihood(theirs, prompt, found.ids) - likelihood(theirs, prompt, wanted))
            assert found.ids == wanted or apart < 1e-4, f"{case}: beams find {found.ids}, not {wanted}"


def same_words(theirs: Any, prompt: Array, found: list[int], wanted: list[int]) -> bool:
    """Whether two continuations are equal, or part at two words that are all but equally likely."""
    at = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b), None)
    if at is None:
        return True
    scores = _scores(theirs, prompt, wanted[:at])[-1]
    return bool(abs(scores[found[at]] - scores[wanted[at]]) < 1e-4)


def likelihood(theirs: Any, prompt: Array, new: list[int]) -> float:
    """The log-probability of a continuation, over its length."""
    rows = _scores(theirs, prompt, new[:-1])[-len(new) :]
    return float(sum(row[token] for row, token in zip(rows, new, strict=True)) / len(new))


def _scores(theirs: Any, prompt: Array, words: list[int]) -> Array:
    """Log-probabilities of what comes after the prompt and each word behind it."""
    import torch

    given = {"input_ids": torch.tensor([[*prompt.tolist(), *words]])}
    if theirs.config.is_encoder_decoder:
        written = [theirs.config.decoder_start_token_id, *words]
        given = {"input_ids": torch.tensor([prompt.tolist()]), "decoder_input_ids": torch.tensor([written])}
    with torch.no_grad():
        found: Array = theirs(**given).logits[0].log_softmax(-1).numpy()
    return found


class Repeated:
    """The batch of a case in every step (see train.batches.Batches)."""

    steps, epochs, accumulates = STEPS, 1.0, False

    def __init__(self, batch: dict[str, Array]) -> None:
        self.batch = batch

    def step(self, number: int) -> list[dict[str, Array]]:
        return [self.batch]

    def largest(self) -> list[dict[str, Array]]:
        return [self.batch]

    def epochs_after(self, steps: int) -> float:
        return steps / self.steps

    def validates_after(self, steps: int) -> bool:
        return False

    def capacity(self) -> dict[str, int]:
        return CAPACITY


class Packed(Task):
    """The task of a case, whose batches come packed."""

    def __init__(self, batch: dict[str, Array]) -> None:
        self._shapes = shapes(batch)

    def pack(self, part: Any) -> dict[str, Array]:
        return dict(part)

    def symbols(self) -> dict[str, tuple[Any, ...]]:
        return dict(self._shapes)

    def total(self, model: Any, batch: Any) -> tuple[Tensor, Tensor]:
        return loss_of(model, batch)


def resumes(family: Sequence[Case]) -> None:
    """A training with dropout by the loop that users run, stopped half-way by Ctrl-C and gone on with from its run
    folder, ends with the bits of one that was not."""
    case = family[0]

    def training(run: RunFolder | None) -> Loop:
        model, batches = case.ours(), Repeated(case.batch)
        start = {name: np.array(value.numpy()) for name, value in model.parameters().items()}
        engine = Engine(model, Packed(case.batch), adamw(), seed=3, capacity=CAPACITY, precision="f32", owns=True)
        return Loop(engine, batches, SETTINGS, "loss", None, lambda: start, silent, run)

    whole = training(None)
    whole.train()
    with TemporaryDirectory() as name:
        with RunFolder.create(Path(name) / "run", {}) as run:
            stopped = training(run)
            with interrupted_after(STEPS // 2):
                stopped.train()
        assert stopped.state.step == STEPS // 2, case
        with RunFolder.open(Path(name) / "run") as run:
            resumed = training(run)
            resumed.train()
    assert resumed.state.step == STEPS and resumed.state.loss_sum == whole.state.loss_sum, case
    begun, wanted = whole.start(), whole.engine.weights()
    for name, value in resumed.engine.weights().items():
        np.testing.assert_array_equal(value, wanted[name], err_msg=f"{case}: {name}")
    assert any((wanted[name] != begun[name]).any() for name in wanted), f"{case}: nothing was trained"


@contextmanager
def interrupted_after(step: int) -> Iterator[None]:
    """Ctrl-C in this step; what is in the block ends with it."""
    before = loop.hook
    loop.hook = lambda point: signal.raise_signal(signal.SIGINT) if point == f"step {step}" else None
    try:
        yield
    except Interrupted:
        return
    finally:
        loop.hook = before
    raise AssertionError("nothing was interrupted")


def _tensors(tree: Any) -> Tree:
    return {name: ht.tensor(np.array(value)) for name, value in tree.items()}


CHECKS: dict[str, Callable[[Sequence[Case]], None]] = {
    "logits": logits,
    "every gradient": every_gradient,
    "a row alone = packed": alone_as_packed,
    "1–4 threads equal": threads_equal,
    "saved → opened by transformers": saved_and_opened,
    "generates": generates,
    "resumes": resumes,
}


# --- the matrix -----------------------------------------------------------------------------------------------------


def applies(model_type: str, check: str) -> bool:
    return check != "generates" or bool(GENERATING & set(FAMILIES[model_type].classes))


def rows(model_types: Sequence[str], judged: Callable[[str, str], str]) -> list[list[str]]:
    """The table's cells: the heads first, then a line a family."""
    head = ["model_type", "tasks", "variants", *CHECKS]
    lines = []
    for model_type in model_types:
        family = cases(model_type)
        tasks = ", ".join(dict.fromkeys(case.task for case in family))
        variants = "; ".join(dict.fromkeys(case.variant or "plain" for case in family))
        cells = [judged(model_type, check) if applies(model_type, check) else "–" for check in CHECKS]
        lines.append([f"`{model_type}`", tasks, variants, *cells])
    return [head, *lines]


def table(cells: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]]) + "\n"


def judge(model_type: str, check: str) -> str:
    try:
        CHECKS[check](cases(model_type))
    except Exception as problem:  # whatever it is, the matrix shows it, and the others are judged all the same
        print(f"{model_type}: {check}: {type(problem).__name__}: {problem}", file=sys.stderr)
        return "✗"
    return "✓"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="model types, separated by commas")
    parser.add_argument("--write", type=Path, help="put the table into this page")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(TINY)
    if unknown := [name for name in chosen if name not in TINY]:
        parser.error(f"there is no family {', '.join(unknown)}; there are {', '.join(TINY)}")
    found = table(rows(chosen, judge))
    print(found)
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        begin, end = page.index("| model_type"), page.rindex("|\n") + len("|\n")
        lines = {line.split("|")[1]: line for line in (page[begin:end] + found).splitlines(keepends=True)}
        options.write.write_text(page[:begin] + "".join(lines.values()) + page[end:], encoding="utf-8")
    sys.exit("✗" in found)


if __name__ == "__main__":
    main()
