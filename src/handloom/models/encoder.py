"""What every stack of layers shares: a packed batch in, hidden states or logits out, and the names of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models.config import Config, EncoderConfig
from handloom.nn.dropout import Dropout
from handloom.nn.linear import Linear
from handloom.nn.module import Module
from handloom.tensor import Tensor

Batch = dict[str, Any]  # ids i32[T], positions i32[T], types i32[T], starts i32[S+1], perhaps rows i32[R]

ACTIVATE = {
    "gelu": ht.gelu,
    "gelu_new": lambda x: ht.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: ht.gelu(x, approximate=True),
    "gelu_fast": lambda x: ht.gelu(x, approximate=True),
    "relu": ht.relu,
    "silu": ht.silu,
    "swish": ht.silu,
    "tanh": ht.tanh,
}


class Encoder(Module):
    """A stack of layers without a head, a decoder's too. `forward(batch)` gives hidden states [T, hidden], one row a
    token, packed."""

    prefix: ClassVar[str]  # of its weights inside a model with a head: "bert."
    layers_prefix: ClassVar[str]  # of its layers: "encoder.layer."
    embeddings_prefixes: ClassVar[tuple[str, ...]] = ("embeddings.",)  # of what is below them
    dispensable: ClassVar[tuple[str, ...]] = ("pooler.",)  # parts that a checkpoint may lack: they are drawn afresh
    config: Config
    embeddings: Any

    @property
    def words(self) -> Tensor:
        """The table of words, [vocab, width]: what the output layer of a masked language model is, too."""
        found: Tensor = self.embeddings.word_embeddings.weight
        return found

    def arrange(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What the layers want to know of a packed batch beside it, found on the host: nothing, unless a family
        differs."""
        return {}

    def arranged(self) -> dict[str, tuple[str, ...]]:
        """The symbolic shapes of what `arrange` adds."""
        return {}

    def in_layer(self, name: str, layer: int) -> bool:
        """Whether a parameter, named as in the encoder, belongs to a layer."""
        return name.startswith(f"{self.layers_prefix}{layer}.")

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Other names of parameters, which a checkpoint may have instead, or besides."""
        return {}

    def pooled(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[S, hidden]: one row a sequence, from its first token's."""
        return first_rows(hidden, batch)


class Headed(Module):
    """An encoder with a head on it. `forward(batch)` is `score(encode(batch), batch)`: the logits."""

    task: ClassVar[str]
    config: Config
    outputs: ClassVar[tuple[str, ...] | None] = None  # names of the head's outputs, where they are always the same
    encoder_name: ClassVar[str]  # the attribute that holds the encoder: "bert"; "": its parts stand beside the head

    @property
    def encoder_part(self) -> Encoder:
        found = getattr(self, self.encoder_name)
        assert isinstance(found, Encoder)
        return found

    @property
    def stack_prefix(self) -> str:
        """What the names of the encoder's parameters begin with here."""
        return f"{self.encoder_name}." if self.encoder_name else ""

    @property
    def prefix(self) -> str:
        """Of the encoder's weights."""
        return self.encoder_part.prefix

    @property
    def copies(self) -> tuple[str, ...]:
        """Tensors that checkpoints may hold although they are others of their own once more."""
        return ()

    def arrange(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return self.encoder_part.arrange(batch)

    def arranged(self) -> dict[str, tuple[str, ...]]:
        return self.encoder_part.arranged()

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Other names of parameters, which a checkpoint may have instead, or besides."""
        own = self.stack_prefix
        within = self.encoder_part.aliases
        return {own + name: tuple(own + other for other in others) for name, others in within.items()}

    def encode(self, batch: Batch) -> Tensor:
        """[T, hidden]."""
        return self.encoder_part(batch)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Logits, from the hidden states of a batch."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        return self.score(self.encode(batch), batch)

    @property
    def architecture(self) -> str:
        """The name that transformers knows this class by."""
        return type(self).__name__


class Classifier(Headed):
    """An encoder with an output for each label: logits [S, labels] or, for tokens, [T, labels] ([R, labels] where the
    batch names `rows`)."""

    last_layer: ClassVar[str] = "classifier"  # the linear layer whose rows stand for labels


class TokenClassifier(Classifier):
    """A linear layer over the encoder's rows: logits [T, labels], or [R, labels] of the rows that the batch names."""

    task = "token-classification"
    make_encoder: ClassVar[Any]  # (config) -> Encoder: its class, without a pooler

    def __init__(self, config: EncoderConfig, labels: int) -> None:
        self.config = config
        setattr(self, self.encoder_name, type(self).make_encoder(config))
        self.dropout = Dropout(config.classifier_dropout[self.task])
        self.classifier = Linear(config.hidden_size, labels, rng=None)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.classifier(self.dropout(labelled_rows(hidden, batch)))


class QuestionAnswerer(Headed):
    """A linear layer over the encoder's rows: logits [T, 2], of an answer's beginning and of its end."""

    task = "question-answering"
    outputs = ("start", "end")
    make_encoder: ClassVar[Any]  # (config) -> Encoder: its class, without a pooler

    def __init__(self, config: Config) -> None:
        self.config = config
        setattr(self, self.encoder_name, type(self).make_encoder(config))
        self.dropout = Dropout(config.classifier_dropout.get(self.task, 0.0))
        self.qa_outputs = Linear(config.hidden_size, 2, rng=None)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.qa_outputs(self.dropout(hidden))


class ClassificationHead(Module):
    """first [S, hidden] -> logits [S, labels]: dropout, dense, activation, dropout, projection."""

    def __init__(self, config: EncoderConfig, labels: int, activation: str = "tanh") -> None:
        rate = config.classifier_dropout["text-classification"]
        self.dense = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.dropout = Dropout(rate)
        self.out_proj = Linear(config.hidden_size, labels, rng=None)
        self.activation = activation

    def forward(self, first: Tensor) -> Tensor:
        return self.out_proj(self.dropout(ACTIVATE[self.activation](self.dense(self.dropout(first)))))


class FirstRowClassifier(Classifier):
    """Logits [S, labels] by a `ClassificationHead` over each sequence's first row."""

    task = "text-classification"
    last_layer = "classifier.out_proj"
    make_encoder: ClassVar[Any]  # (config) -> Encoder: its class, without a pooler
    activation: ClassVar[str] = "tanh"

    def __init__(self, config: EncoderConfig, labels: int) -> None:
        self.config = config
        setattr(self, self.encoder_name, type(self).make_encoder(config))
        self.classifier = ClassificationHead(config, labels, self.activation)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.classifier(first_rows(hidden, batch))


def first_rows(hidden: Tensor, batch: Batch) -> Tensor:
    """[S, hidden]: the row of each sequence's first token."""
    return ht.take(hidden, batch["starts"][:-1])


def mean_rows(hidden: Tensor, batch: Batch) -> Tensor:
    """[S, hidden]: the mean of each sequence's rows."""
    starts, (tokens, _) = batch["starts"], hidden.shape
    # the sequence that a token belongs to: how many of the others have begun before it
    begun = starts[1:-1].reshape(1, -1) <= ht.iota(tokens).reshape(-1, 1)
    sums = ht.scatter_add(begun.astype("i32").sum(1), hidden, starts.shape[0] - 1)
    return sums / ht.maximum(starts[1:] - starts[:-1], 1).astype("f32").reshape(-1, 1)


def last_rows(hidden: Tensor, batch: Batch) -> Tensor:
    """[S, hidden]: the row of each sequence's last token."""
    return ht.take(hidden, batch["starts"][1:] - 1)


def labelled_rows(hidden: Tensor, batch: Batch) -> Tensor:
    """[R, hidden]: the rows that the batch asks logits for, else all."""
    return ht.take(hidden, batch["rows"]) if "rows" in batch else hidden


def freezable(model: Module, what: str) -> list[str]:
    """Names of the parameters that a word freezes.

    `embeddings`: the tables, their norm and (ELECTRA's) projection; `layers:N`: the first N layers and the embeddings
    below them; `encoder`: all but the head.
    """
    encoder = model.encoder_part if isinstance(model, Headed) else model
    if not isinstance(encoder, Encoder):
        raise HandloomError(f"{type(model).__name__} has no encoder that could be frozen")
    prefix = model.stack_prefix if isinstance(model, Headed) else ""
    names = [prefix + name for name in encoder.parameters()]
    below = tuple(prefix + part for part in encoder.embeddings_prefixes)
    kind, _, number = what.partition(":")
    if kind == "encoder" and not number:
        return names
    if kind == "embeddings" and not number:
        return [name for name in names if name.startswith(below)]
    if kind == "layers" and number.isdecimal():
        depth = encoder.config.layers
        if not 1 <= int(number) <= depth:
            raise HandloomError(f"cannot freeze {what!r}: the model has {depth} layers")
        layers = range(int(number))
        own = {prefix + name for name in encoder.parameters() if any(encoder.in_layer(name, i) for i in layers)}
        return [name for name in names if name in own or name.startswith(below)]
    raise HandloomError(f"cannot freeze {what!r}: known are 'embeddings', 'layers:N' and 'encoder' (all but the head)")
