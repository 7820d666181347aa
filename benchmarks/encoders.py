"""BERT encoders by their sizes, with random weights and texts of equal length: ours, PyTorch's, and their FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from handloom.models.bert import BertForSequenceClassification, read_config
from handloom.models.config import EncoderConfig, Fields
from handloom.tasks.task import Feature
from handloom.tasks.text_classification import TextClassification
from handloom.text.encoding import Encoding
from handloom.train.batches import capacity
from handloom.train.engine import Engine
from handloom.train.optimisers import optimiser

if TYPE_CHECKING:
    from handloom.nn import Module
    from handloom.tasks.task import Task

LABELS, RATE, DECAY, CLIP = 77, 2e-5, 0.01, 1.0


@dataclass(frozen=True)
class Sizes:
    hidden: int
    layers: int
    heads: int
    inner: int
    words: int = 30522
    positions: int = 512

    def values(self, dropout: float = 0.1) -> dict[str, Any]:
        """config.json"""
        return {
            "model_type": "bert",
            "vocab_size": self.words,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.inner,
            "max_position_embeddings": self.positions,
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        }

    def config(self, dropout: float = 0.1) -> EncoderConfig:
        return read_config(Fields(self.values(dropout)))

    def flops(self, sequences: int, length: int, labels: int = LABELS) -> int:
        """FLOPs that forward and backward need: every product once forward and twice backward, nothing recomputed; of
        the last layer, after attention, only the rows that the head reads."""
        after = self.hidden**2 + 2 * self.hidden * self.inner
        layer = 3 * self.hidden**2 + after + 2 * length * self.hidden
        head = self.hidden**2 + self.hidden * labels
        return 6 * sequences * (length * self.layers * layer - (length - 1) * after + head)


SIZES = {"MiniLM-L6": Sizes(384, 6, 12, 1536), "BERT-base": Sizes(768, 12, 12, 3072)}


@dataclass(frozen=True)
class Workload:
    """A step on `sequences` texts of `length` tokens each."""

    model: str
    sequences: int
    length: int

    @property
    def sizes(self) -> Sizes:
        return SIZES[self.model]

    @property
    def tokens(self) -> int:
        return self.sequences * self.length

    @property
    def flops(self) -> int:
        return self.sizes.flops(self.sequences, self.length)

    @property
    def label(self) -> str:
        return f"{self.model}, {self.sequences} × {self.length} tokens"

    @staticmethod
    def parse(text: str) -> Workload:
        """Reads "MiniLM-L6:32x32"."""
        model, _, size = text.partition(":")
        sequences, _, length = size.partition("x")
        if model not in SIZES or not (sequences.isdigit() and length.isdigit()):
            raise ValueError(f"{text}: write MODEL:SEQUENCESxLENGTH with a model of {', '.join(SIZES)}")
        return Workload(model, int(sequences), int(length))

    def __str__(self) -> str:
        return f"{self.model}:{self.sequences}x{self.length}"


def drawn(model: Module, seed: int = 0, deviation: float = 0.02) -> dict[str, np.ndarray]:
    """Fresh values for all of a model's parameters."""
    rng = np.random.default_rng(seed)
    found = {}
    for prefix, module in model.modules():
        for name, value in module.initial(rng, deviation).items():
            found[f"{prefix}.{name}" if prefix else name] = value
    return found


def bert(sizes: Sizes, labels: int = LABELS, dropout: float = 0.1) -> BertForSequenceClassification:
    """With random weights."""
    model = BertForSequenceClassification(replace(sizes.config(dropout), labels=()), labels)
    model.load(drawn(model))
    return model


def texts(sequences: int, length: int, words: int, labels: int = LABELS, seed: int = 0) -> list[Feature]:
    """Features of random tokens, each with a label."""
    rng = np.random.default_rng(seed)
    zeros = np.zeros(length, np.int32)
    offsets = np.zeros((length, 2), np.int32)
    plain = np.zeros(length, np.bool_)
    found = []
    for index in range(sequences):
        ids = rng.integers(min(1000, words // 2), words, length).astype(np.int32)
        coded = Encoding(ids, zeros, offsets, plain, np.arange(length, dtype=np.int32), zeros)
        label = np.array(rng.integers(labels), np.int32)
        found.append(Feature(coded, index, label, np.arange(length, dtype=np.int32), length))
    return found


def engine_for(
    model: Module, task: Task, tokens: int, sequences: int, threads: int | None, precision: str = "f32"
) -> Engine:
    """The engine that `fit` would make: AdamW, clipping at 1, the capacity of its greatest batch."""
    room = capacity(tokens, sequences)
    rule = optimiser("adamw", DECAY)
    return Engine(model, task, rule, clip=CLIP, threads=threads, capacity=room, precision=precision, owns=True)


def our_step(
    workload: Workload, threads: int | None, precision: str = "f32"
) -> tuple[Engine, Callable[[], float]]:
    """The engine, and a step of it: each call returns the mean loss."""
    task = TextClassification([str(i) for i in range(LABELS)])
    engine = engine_for(bert(workload.sizes), task, workload.tokens, workload.sequences, threads, precision)
    batch = texts(workload.sequences, workload.length, workload.sizes.words)
    number = 0

    def step() -> float:
        nonlocal number
        result = engine.step([batch], number, RATE)
        number += 1
        return result.loss / result.weight

    return engine, step


def torch_step(
    workload: Workload, threads: int, precision: str = "f32", compiled: bool = False
) -> Callable[[], float]:
    """The same step as PyTorch's users write it: transformers, SDPA, fused AdamW, no padding and no mask; in bf16 by
    autocast, and by torch.compile if it is `compiled`."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from handloom.train.optimisers import decays

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    more: dict[str, Any] = {"num_labels": LABELS, "attn_implementation": "sdpa"}
    config = BertConfig(**workload.sizes.values(), **more)
    model = BertForSequenceClassification(config).train()
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if decays(n)], "weight_decay": DECAY},
        {"params": [p for n, p in named if not decays(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, fused=True)
    features = texts(workload.sequences, workload.length, workload.sizes.words)
    ids = torch.from_numpy(np.stack([f.encoding.ids for f in features])).long()
    labels = torch.tensor([int(f.label) for f in features if f.label is not None])

    run: Any = torch.compile(model) if compiled else model

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = run(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step
