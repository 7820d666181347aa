"""What models with a language-modelling head share: hidden states in, a score for every word out."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models.config import Config, EncoderConfig
from handloom.models.encoder import Batch, Headed, labelled_rows, last_rows
from handloom.nn.linear import Linear
from handloom.nn.module import Array, Module, zeros
from handloom.nn.norm import LayerNorm
from handloom.tensor import Tensor


class LanguageModel(Headed):
    """A stack of layers with an output layer over the vocabulary, a linear map without a bias unless a family differs.

    `forward(batch)` gives logits [R, vocab] of the rows that the batch names, else of all [T, vocab].
    """

    task: ClassVar[str] = "text-generation"

    @property
    def copies(self) -> tuple[str, ...]:
        return ("lm_head.weight",)

    @property
    def output_weight(self) -> Tensor:
        """[vocab, hidden] of the output layer, perhaps the table of words itself."""
        raise NotImplementedError

    @property
    def output_bias(self) -> Tensor | None:
        """[vocab] of the output layer, where it has one."""
        return None

    def transformed(self, hidden: Tensor) -> Tensor:
        """[R, hidden]: what a family's head does to hidden states before its output layer."""
        return hidden

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return ht.linear(self.transformed(labelled_rows(hidden, batch)), self.output_weight, self.output_bias)

    def loss(self, hidden: Tensor, labels: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """(sum, weight) of the negative log-likelihood of labels i32[R] given hidden states f32[R, hidden].

        Rows labelled −100 count nothing; no logits are stored. smoothing: the share of a label that is spread over all
        of the vocabulary.
        """
        x, bias = self.transformed(hidden), self.output_bias
        return ht.linear_cross_entropy(x, self.output_weight, labels, bias=bias, smoothing=smoothing)


class MaskedLanguageModel(LanguageModel):
    """An encoder that names the words behind masks. Its output layer is the table of words, with a bias of its own.

    Raises HandloomError where config.json wants another table there.
    """

    task: ClassVar[str] = "fill-mask"

    def __init__(self, config: Config) -> None:
        if config.source.get("tie_word_embeddings", True) is not True:
            raise HandloomError(f"{config.path}: tie_word_embeddings must be true for fill-mask: an output layer with "
                                "a table of its own is not supported")
        self.config = config

    @property
    def output_weight(self) -> Tensor:
        return self.encoder_part.words


class Bias(Module):
    """[width], zeros at first: an output layer whose weight is the table of words."""

    def __init__(self, width: int) -> None:
        self.bias = zeros(width)

    def initial(self, rng: np.random.Generator, std: float) -> dict[str, Array]:
        return {"bias": np.zeros(self.bias.numpy().shape, np.float32)}


class MaskHead(Bias):
    """hidden [R, hidden] -> [R, hidden] before the output layer: dense, GELU, norm. RoBERTa's and MPNet's."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config.vocab_size)
        self.dense = Linear(config.hidden_size, config.hidden_size, rng=None)
        self.layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.layer_norm(ht.gelu(self.dense(hidden)))


class LastRow(Linear):
    """hidden [T, hidden] -> logits [S, labels] of each sequence's last token, without a bias: how decoders classify.

    transformers calls this layer `score`, and so it stands where a classifier has its method of that name.
    """

    def __init__(self, width: int, labels: int) -> None:
        super().__init__(width, labels, bias=False, rng=None)

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:  # type: ignore[override]
        return super().forward(last_rows(hidden, batch))
