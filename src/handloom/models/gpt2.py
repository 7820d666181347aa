"""GPT-2 (Radford and others, 2019): pre-norm layers over words and learned positions.

Its linear maps are stored [in, out] (`Conv1D`), queries, keys and values side by side in one of them.
"""

from __future__ import annotations

from typing import Any

from handloom.models.config import ACTIVATIONS, DecoderConfig, Fields, head_of
from handloom.models.encoder import ACTIVATE, Batch, Classifier, Encoder
from handloom.models.language_model import LanguageModel, LastRow
from handloom.nn.attention import attend
from handloom.nn.dropout import Dropout
from handloom.nn.embedding import Embedding
from handloom.nn.linear import Conv1D, Linear
from handloom.nn.module import Module
from handloom.nn.norm import LayerNorm
from handloom.tensor import Tensor


def read_config(fields: Fields) -> DecoderConfig:
    for unsupported in ("add_cross_attention", "scale_attn_by_inverse_layer_idx"):
        fields.false(unsupported)
    hidden, heads = fields.whole("n_embd", 768, high=2**16), fields.whole("n_head", 12, high=4096)
    return DecoderConfig(
        model_type="gpt2",
        vocab_size=fields.whole("vocab_size", 50257, high=2**24),
        hidden_size=hidden,
        layers=fields.whole("n_layer", 12, high=1024),
        heads=heads,
        key_value_heads=heads,
        head_size=hidden // heads,
        scaled=fields.flag("scale_attn_weights", True),
        intermediate_size=fields.whole_or("n_inner", 4 * hidden, high=2**18),
        positions=fields.whole("n_positions", 1024),
        activation=fields.choice("activation_function", ACTIVATIONS, "gelu_new"),
        norm_eps=fields.positive("layer_norm_epsilon", 1e-5),
        initializer_range=fields.positive("initializer_range", 0.02),
        tied=fields.flag("tie_word_embeddings", True),
        hidden_dropout=fields.rate("resid_pdrop", 0.1) or 0.0,
        embedding_dropout=fields.rate("embd_pdrop", 0.1) or 0.0,
        attention_dropout=fields.rate("attn_pdrop", 0.1) or 0.0,
        labels=fields.labels(),
        head=head_of(fields.values),
        source=dict(fields.values),
        path=fields.path,
    )


def residual_shrink(config: DecoderConfig) -> float:
    """What adds to the residual stream begins smaller, because 2 · layers such terms add up."""
    return float((2 * config.layers) ** -0.5)


class Attention(Module):
    """[T, hidden] -> [T, hidden]: each token looks at those before it in its own sequence."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        self.c_attn = Conv1D(config.hidden_size, 3 * config.hidden_size)
        self.c_proj = Conv1D(config.hidden_size, config.hidden_size, residual_shrink(config))
        self.config, self.layer = config, layer

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        config, width = self.config, self.config.hidden_size
        together = self.c_attn(x)
        q, k, v = (together[:, part * width : (part + 1) * width] for part in range(3))
        seen = attend(q, k, v, batch, layer=self.layer, heads=config.heads, dropout=config.attention_dropout,
                      scale=None if config.scaled else 1.0)
        return self.c_proj(seen)


class FeedForward(Module):
    """[T, hidden] -> [T, hidden]."""

    def __init__(self, config: DecoderConfig) -> None:
        self.c_fc = Conv1D(config.hidden_size, config.intermediate_size)
        self.c_proj = Conv1D(config.intermediate_size, config.hidden_size, residual_shrink(config))
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(ACTIVATE[self.activation](self.c_fc(x)))


class Block(Module):
    def __init__(self, config: DecoderConfig, layer: int) -> None:
        self.ln_1 = LayerNorm(config.hidden_size, config.norm_eps)
        self.attn = Attention(config, layer)
        self.ln_2 = LayerNorm(config.hidden_size, config.norm_eps)
        self.mlp = FeedForward(config)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        x = x + self.dropout(self.attn(self.ln_1(x), batch))
        return x + self.dropout(self.mlp(self.ln_2(x)))


class GPT2Model(Encoder):
    """The layers: hidden states [T, hidden] after the final norm."""

    prefix = "transformer."
    layers_prefix = "h."
    embeddings_prefixes = ("wte.", "wpe.")

    def __init__(self, config: DecoderConfig) -> None:
        self.config = config
        self.wte = Embedding(config.vocab_size, config.hidden_size, None)
        self.wpe = Embedding(config.positions, config.hidden_size, None)
        self.h = [Block(config, layer) for layer in range(config.layers)]
        self.ln_f = LayerNorm(config.hidden_size, config.norm_eps)
        self.drop = Dropout(config.embedding_dropout)

    def forward(self, batch: Batch) -> Tensor:
        x = self.drop(self.wte(batch["ids"]) + self.wpe(batch["positions"]))
        for block in self.h:
            x = block(x, batch)
        return self.ln_f(x)


class GPT2LMHeadModel(LanguageModel):
    encoder_name = "transformer"

    def __init__(self, config: DecoderConfig) -> None:
        self.config = config
        self.transformer = GPT2Model(config)
        self.lm_head = None if config.tied else Linear(config.hidden_size, config.vocab_size, bias=False, rng=None)

    @property
    def output_weight(self) -> Tensor:
        return self.transformer.wte.weight if self.lm_head is None else self.lm_head.weight


class GPT2ForSequenceClassification(Classifier):
    """Logits [S, labels] from each sequence's last token."""

    task = "text-classification"
    encoder_name = "transformer"
    last_layer = "score"

    def __init__(self, config: DecoderConfig, labels: int) -> None:
        self.config = config
        self.transformer = GPT2Model(config)
        self.score = LastRow(config.hidden_size, labels)  # type: ignore[method-assign]


CLASSES: dict[str | None, Any] = {
    None: GPT2Model,
    "text-generation": GPT2LMHeadModel,
    "text-classification": GPT2ForSequenceClassification,
}
