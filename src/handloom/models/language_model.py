"""What models with a language-modelling head share: hidden states in, a score for every word out."""

from __future__ import annotations

from typing import ClassVar

import handloom.tensor as ht
from handloom.models.encoder import Batch, Headed, labelled_rows, last_rows
from handloom.nn.linear import Linear
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

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return ht.linear(labelled_rows(hidden, batch), self.output_weight)

    def loss(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(sum, weight) of the negative log-likelihood of labels i32[R] given hidden states f32[R, hidden].

        Rows labelled −100 count nothing; no logits are stored.
        """
        return ht.linear_cross_entropy(hidden, self.output_weight, labels)


class LastRow(Linear):
    """hidden [T, hidden] -> logits [S, labels] of each sequence's last token, without a bias: how decoders classify.

    transformers calls this layer `score`, and so it stands where a classifier has its method of that name.
    """

    def __init__(self, width: int, labels: int) -> None:
        super().__init__(width, labels, bias=False, rng=None)

    def forward(self, hidden: Tensor, batch: Batch) -> Tensor:  # type: ignore[override]
        return super().forward(last_rows(hidden, batch))
