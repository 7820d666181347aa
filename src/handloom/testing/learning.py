"""Checks of the loss, and of what it moves."""

from __future__ import annotations

import numpy as np

from handloom.models.encoder import Headed
from handloom.testing.subject import DoesNotApply, Subject, require
from handloom.train.modeling import WithHead

STEPS = 25
RATE = 0.16
"""Of learning, times the width: 5e-3 for one of 32, 4e-4 for a checkpoint of 384, which more would spoil."""


def loss_is_a_sum_and_a_weight(subject: Subject) -> None:
    """Both are finite, and the weight is above 0: a mean loss is the one over the other."""
    total, weight = subject.total(subject.encoded.features)
    require(np.isfinite(total) and np.isfinite(weight), f"the loss is {total} / {weight}")
    require(weight > 0, f"the weight of a batch with labels is {weight}")


def parts_add_up_to_the_batch(subject: Subject) -> None:
    """The loss of a batch is that of its examples, sums and weights added up, however it is divided."""
    if not subject.task.separable:
        raise DoesNotApply("the examples of a batch are compared with each other")
    groups = [[f for f in subject.encoded.features if f.example == i] for i in range(len(subject.examples))]
    parts = np.array([subject.total(group) for group in groups]).sum(0)
    whole = np.array(subject.total(subject.encoded.features))
    for name, one, other in zip(("sum", "weight"), whole, parts, strict=True):
        require(np.isclose(one, other, rtol=1e-4, atol=1e-5), f"the {name} of a batch is {one}, of its parts {other}")


def examples_without_labels_weigh_nothing(subject: Subject) -> None:
    """Beside labelled ones, an example without a label changes neither the sum of the loss nor its weight."""
    if not (subject.decodes and subject.task.separable):
        raise DoesNotApply("the task trains on labelled examples only")
    mixed = [*subject.examples[:2], subject.bare[2], *subject.examples[3:]]
    rest = [*subject.examples[:2], *subject.examples[3:]]
    one, other = (subject.total(subject.encode(some).features) for some in (mixed, rest))
    if subject.task.label_dtype == "f32":
        raise DoesNotApply("a missing number cannot be told from 0")
    require(np.allclose(one, other, rtol=1e-4), f"with an unlabelled example the loss is {one}, without it {other}")


def gradients_reach_everything(subject: Subject) -> None:
    """A step moves every parameter of the head, and the encoder below it."""
    engine = subject.trainer
    before = {name: value.copy() for name, value in engine.weights().items()}
    result = engine.step([subject.encoded.features], 0, 1e-3)
    require(result.norm > 0 and np.isfinite(result.norm), f"the norm of the gradient is {result.norm}")
    moved = {name for name, value in engine.weights().items() if (value != before[name]).any()}
    subject.rewind()
    model = subject.model
    if isinstance(model, (WithHead, Headed)):
        below = f"{model._name}." if isinstance(model, WithHead) else model.stack_prefix
        encoder = {below + name for name in model.encoder_part.parameters()}
        require(moved & encoder, "no gradient reaches the encoder")
        still = sorted(before.keys() - encoder - moved)
        require(not still, f"no gradient reaches {', '.join(still)}")
    require(moved, "nothing moves")


def training_lowers_the_loss(subject: Subject) -> None:
    """Some steps on the same examples."""
    first, weight = subject.total(subject.encoded.features)
    rate = RATE / subject.config.hidden_size
    results = [subject.trainer.step([subject.encoded.features], step, rate) for step in range(STEPS)]
    subject.rewind()
    last = results[-1].loss / results[-1].weight
    require(last < 0.9 * first / weight, f"after {STEPS} steps the loss is {last:.4f}; it was {first / weight:.4f}")


def alone_or_packed_the_same_bits(subject: Subject) -> None:
    """An example's logits do not depend on its neighbours in the batch."""
    if not subject.decodes:
        raise DoesNotApply("the task has no logits of its own")
    engine = subject.estimator.engine()
    packed, _ = engine.logits(subject.encoded)
    for index in range(len(subject.examples)):
        mine = [number for number, f in enumerate(subject.encoded.features) if f.example == index]
        alone, _ = engine.logits(subject.part(mine))
        for number, rows in zip(mine, alone, strict=True):
            require(np.array_equal(rows, packed[number]), f"example {index} has other logits alone than in a batch")


def the_same_seed_the_same_bits(subject: Subject) -> None:
    """Three steps, begun again, end with the same weights, dropout and all."""
    ends = []
    for _ in range(2):
        for step in range(3):
            subject.trainer.step([subject.encoded.features], step, 5e-3)
        ends.append({name: value.copy() for name, value in subject.trainer.weights().items()})
        subject.rewind()
    other = [name for name, value in ends[0].items() if not np.array_equal(value, ends[1][name])]
    require(not other, f"the same steps gave other weights: {', '.join(other[:3])}")
