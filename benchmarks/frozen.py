"""What does a frozen layer save? BERT-base's step with the embeddings and the first 8 of 12 layers frozen, beside the
full step, in turns.

    python -m benchmarks.frozen [--workload BERT-base:16x128] [--layers 8] [--steps 5]
"""

from __future__ import annotations

from functools import partial

from benchmarks.encoders import CLIP, DECAY, LABELS, RATE, Workload, bert, texts
from benchmarks.figures import begin, keep, options, seconds_of, shown, spread
from handloom.ceilings import choose
from handloom.tasks.text_classification import TextClassification
from handloom.train.batches import capacity
from handloom.train.engine import Engine
from handloom.train.modeling import frozen_names
from handloom.train.optimisers import optimiser


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--workload", type=Workload.parse, default="BERT-base:16x128", metavar="MODEL:SEQUENCESxLENGTH")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--precision", choices=("auto", "f32", "bf16"), default="auto")
    given = parser.parse_args()
    precision, workload = choose(given.precision), given.workload
    figures = begin(f"A step with {given.layers} layers frozen, {precision}", given.threads)
    batch = texts(workload.sequences, workload.length, workload.sizes.words)
    seconds: dict[int, list[float]] = {0: [], given.layers: []}
    engines = {}
    for layers in seconds:
        model = bert(workload.sizes)
        engines[layers] = Engine(
            model, TextClassification([str(i) for i in range(LABELS)]), optimiser("adamw", DECAY), clip=CLIP,
            threads=given.threads, frozen=frozen_names(model, layers), precision=precision, owns=True,
            capacity=capacity(workload.tokens, workload.sequences),
        )  # fmt: skip
        engines[layers].step([batch], 0, RATE)
    for number in range(2 if given.quick else given.steps):
        for layers, engine in engines.items():
            seconds[layers].append(seconds_of(partial(engine.step, [batch], number, RATE)))
    ratio = spread([b / a for a, b in zip(*seconds.values(), strict=True)])
    for layers, found in seconds.items():
        print(f"  {layers:2} layers frozen: {shown(spread(found), lambda s: f'{s * 1e3:.0f}')} ms")
    print(f"  {shown(ratio)} of the full step")
    keep({**figures, "seconds": {str(k): spread(v) for k, v in seconds.items()}, "ratio": ratio}, given.json)


if __name__ == "__main__":
    main()
