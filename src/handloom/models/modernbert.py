"""ModernBERT (Warner and others, 2024): pre-norm layers with rotary positions and gated MLPs, almost no biases, and
attention that sees a window in most layers and everything in the others. It was trained on packed, unpadded batches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import handloom.tensor as ht
from handloom.models.config import ACTIVATIONS, EncoderConfig, Fields, head_of
from handloom.models.encoder import (
    ACTIVATE,
    Batch,
    Classifier,
    Encoder,
    QuestionAnswerer,
    first_rows,
    labelled_rows,
    mean_rows,
)
from handloom.models.language_model import Bias, MaskedLanguageModel
from handloom.models.llama import Angles, rotary_settings
from handloom.nn.dropout import Dropout
from handloom.nn.embedding import Embedding
from handloom.nn.linear import Linear
from handloom.nn.module import Module
from handloom.nn.norm import LayerNorm
from handloom.nn.rotary import Rotary, RotarySettings, rotate
from handloom.tensor import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

FULL, SLIDING = "full_attention", "sliding_attention"
THETAS = {FULL: ("global_rope_theta", 160_000.0), SLIDING: ("local_rope_theta", 10_000.0)}  # in old files
POOLINGS = {"cls": first_rows, "mean": mean_rows}


@dataclass(frozen=True, kw_only=True)
class ModernBertConfig(EncoderConfig):
    kinds: tuple[str, ...]  # of each layer's attention: FULL or SLIDING
    window: int  # how close keys are to the query in SLIDING layers: 1 is the query itself
    rotary: dict[str, RotarySettings]  # by kind
    embedding_dropout: float
    pooling: str  # of a text's classifier
    head_activation: str
    norm_bias: bool
    attention_bias: bool
    mlp_bias: bool
    head_bias: bool
    output_bias: bool

    def with_dropout(self, rate: float) -> Self:
        return replace(super().with_dropout(rate), embedding_dropout=rate)


def read_config(fields: Fields) -> ModernBertConfig:
    layers = fields.whole("num_hidden_layers", 22, high=1024)
    hidden, heads = fields.whole("hidden_size", high=2**16), fields.whole("num_attention_heads", high=4096)
    positions = fields.whole("max_position_embeddings", 8192, high=2**24)
    rate = fields.rate("classifier_dropout", 0.0) or 0.0
    return ModernBertConfig(
        model_type="modernbert",
        vocab_size=fields.whole("vocab_size", high=2**24),
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        intermediate_size=fields.whole("intermediate_size", high=2**18),
        positions=positions,
        first_position=0,
        types=0,
        activation=fields.choice("hidden_activation", ACTIVATIONS, "gelu"),
        layer_norm_eps=fields.positive("norm_eps", 1e-5),
        initializer_range=fields.positive("initializer_range", 0.02),
        hidden_dropout=fields.rate("mlp_dropout", 0.0) or 0.0,
        attention_dropout=fields.rate("attention_dropout", 0.0) or 0.0,
        embedding_dropout=fields.rate("embedding_dropout", 0.0) or 0.0,
        classifier_dropout=dict.fromkeys(("text-classification", "token-classification", "question-answering"), rate),
        pad_token_id=fields.whole("pad_token_id", 0, low=0, high=2**24),
        kinds=_kinds(fields, layers),
        window=fields.whole("local_attention", 128, low=2) // 2 + 1,
        rotary={kind: _rotary(fields, kind, hidden // heads, positions) for kind in THETAS},
        pooling=fields.choice("classifier_pooling", tuple(POOLINGS), "cls"),
        head_activation=fields.choice("classifier_activation", ACTIVATIONS, "gelu"),
        norm_bias=fields.flag("norm_bias", False),
        attention_bias=fields.flag("attention_bias", False),
        mlp_bias=fields.flag("mlp_bias", False),
        head_bias=fields.flag("classifier_bias", False),
        output_bias=fields.flag("decoder_bias", True),
        labels=fields.labels(),
        head=head_of(fields.values),
        source=dict(fields.values),
        path=fields.path,
    )


def _kinds(fields: Fields, layers: int) -> tuple[str, ...]:
    """`layer_types`, or every n-th layer, as older files say it."""
    found = fields.values.get("layer_types")
    if found is None:
        every = fields.whole("global_attn_every_n_layers", 3)
        return tuple(SLIDING if layer % every else FULL for layer in range(layers))
    if not isinstance(found, list) or len(found) != layers or not set(found) <= {FULL, SLIDING}:
        raise fields.wrong("layer_types", f"a list of {layers} words, each {FULL} or {SLIDING}")
    return tuple(found)


def _rotary(fields: Fields, kind: str, size: int, positions: int) -> RotarySettings:
    """Of the layers of a kind: `rope_parameters`, or a theta of their own."""
    name, theta = THETAS[kind]
    old = fields.values.get(name)
    values: dict[str, Any] = {"rope_theta": theta if old is None else old}
    found = fields.values.get("rope_parameters")
    if isinstance(found, dict) and isinstance(found.get(kind), dict):
        values |= found[kind]
    return rotary_settings(Fields({"rope_parameters": values}, fields.path), size, positions)


class Embeddings(Module):
    """ids i32[T] -> [T, hidden]."""

    def __init__(self, config: ModernBertConfig) -> None:
        self.tok_embeddings = Embedding(config.vocab_size, config.hidden_size, None)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps, config.norm_bias)
        self.drop = Dropout(config.embedding_dropout)

    def forward(self, batch: Batch) -> Tensor:
        return self.drop(self.norm(self.tok_embeddings(batch["ids"])))


class Attention(Module):
    """[T, hidden] -> [T, hidden]: each token looks at its own sequence, in a SLIDING layer at what is near."""

    def __init__(self, config: ModernBertConfig, kind: str) -> None:
        self.Wqkv = Linear(config.hidden_size, 3 * config.hidden_size, config.attention_bias, rng=None)
        self.Wo = Linear(config.hidden_size, config.hidden_size, config.attention_bias, rng=None)
        self.out_drop = Dropout(config.attention_dropout)
        self.heads, self.rate = config.heads, config.attention_dropout
        self.window = config.window if kind == SLIDING else None

    def forward(self, x: Tensor, angles: Angles, batch: Batch) -> Tensor:
        together, width = self.Wqkv(x), x.shape[-1]
        q, k, v = (together[:, part * width : (part + 1) * width] for part in range(3))
        q, k = (rotate(part, self.heads, angles) for part in (q, k))
        seen = ht.attention(q, k, v, batch["starts"], heads=self.heads, window=self.window, dropout=self.rate)
        return self.out_drop(self.Wo(seen))


class GatedMLP(Module):
    """[T, hidden] -> [T, hidden] (Shazeer, 2020)."""

    def __init__(self, config: ModernBertConfig) -> None:
        self.Wi = Linear(config.hidden_size, 2 * config.intermediate_size, config.mlp_bias, rng=None)
        self.Wo = Linear(config.intermediate_size, config.hidden_size, config.mlp_bias, rng=None)
        self.drop = Dropout(config.hidden_dropout)
        self.width, self.activation = config.intermediate_size, config.activation

    def forward(self, x: Tensor) -> Tensor:
        both = self.Wi(x)
        return self.Wo(self.drop(ACTIVATE[self.activation](both[:, : self.width]) * both[:, self.width :]))


class Layer(Module):
    def __init__(self, config: ModernBertConfig, number: int) -> None:
        norm = partial(LayerNorm, config.hidden_size, config.layer_norm_eps, config.norm_bias)
        self.attn_norm = norm() if number else None  # the embeddings have been normalised
        self.attn = Attention(config, config.kinds[number])
        self.mlp_norm = norm()
        self.mlp = GatedMLP(config)

    def forward(self, x: Tensor, angles: Angles, batch: Batch) -> Tensor:
        x = x + self.attn(x if self.attn_norm is None else self.attn_norm(x), angles, batch)
        return x + self.mlp(self.mlp_norm(x))


class ModernBertModel(Encoder):
    """The encoder: hidden states [T, hidden] after the final norm."""

    prefix = "model."
    layers_prefix = "layers."
    config: ModernBertConfig
    embeddings: Embeddings

    def __init__(self, config: ModernBertConfig) -> None:
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = [Layer(config, number) for number in range(config.layers)]
        self.final_norm = LayerNorm(config.hidden_size, config.layer_norm_eps, config.norm_bias)
        self.rotary = {kind: Rotary(config.rotary[kind]) for kind in dict.fromkeys(config.kinds)}

    @property
    def words(self) -> Tensor:
        return self.embeddings.tok_embeddings.weight

    def forward(self, batch: Batch) -> Tensor:
        angles = {kind: rotary.angles(batch) for kind, rotary in self.rotary.items()}
        x = self.embeddings(batch)
        for layer, kind in zip(self.layers, self.config.kinds, strict=True):
            x = layer(x, angles[kind], batch)
        return self.final_norm(x)


class PredictionHead(Module):
    """[R, hidden] -> [R, hidden]: dense, activation, norm. Of classifiers and of the masked language model."""

    def __init__(self, config: ModernBertConfig) -> None:
        self.dense = Linear(config.hidden_size, config.hidden_size, config.head_bias, rng=None)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps, config.norm_bias)
        self.activation = config.head_activation

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(ACTIVATE[self.activation](self.dense(hidden)))


class HeadedClassifier(Classifier):
    """Logits by a PredictionHead and a linear layer, over the rows that `rows` chooses."""

    encoder_name = "model"
    config: ModernBertConfig

    def __init__(self, config: ModernBertConfig, labels: int) -> None:
        self.config = config
        self.model = ModernBertModel(config)
        self.head = PredictionHead(config)
        self.drop = Dropout(config.classifier_dropout[self.task])
        self.classifier = Linear(config.hidden_size, labels, rng=None)

    def rows(self, hidden: Tensor, batch: Batch) -> Tensor:
        raise NotImplementedError

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.classifier(self.drop(self.head(self.rows(hidden, batch))))


class ModernBertForSequenceClassification(HeadedClassifier):
    """Logits [S, labels]."""

    task = "text-classification"

    def rows(self, hidden: Tensor, batch: Batch) -> Tensor:
        return POOLINGS[self.config.pooling](hidden, batch)


class ModernBertForTokenClassification(HeadedClassifier):
    """Logits [T, labels], or [R, labels] of the rows that the batch names."""

    task = "token-classification"

    def rows(self, hidden: Tensor, batch: Batch) -> Tensor:
        return labelled_rows(hidden, batch)


class ModernBertForQuestionAnswering(QuestionAnswerer):
    """Logits [T, 2] by a PredictionHead and a linear layer."""

    encoder_name = "model"
    config: ModernBertConfig

    def __init__(self, config: ModernBertConfig) -> None:
        self.config = config
        self.model = ModernBertModel(config)
        self.head = PredictionHead(config)
        self.drop = Dropout(config.classifier_dropout[self.task])
        self.classifier = Linear(config.hidden_size, 2, rng=None)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.classifier(self.drop(self.head(hidden)))


class ModernBertForMaskedLM(MaskedLanguageModel):
    encoder_name = "model"

    def __init__(self, config: ModernBertConfig) -> None:
        super().__init__(config)
        self.model = ModernBertModel(config)
        self.head = PredictionHead(config)
        self.decoder = Bias(config.vocab_size) if config.output_bias else None

    @property
    def copies(self) -> tuple[str, ...]:
        return ("decoder.weight",)

    @property
    def output_bias(self) -> Tensor | None:
        return None if self.decoder is None else self.decoder.bias

    def transformed(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)


CLASSES: dict[str | None, Any] = {
    None: ModernBertModel,
    "text-classification": ModernBertForSequenceClassification,
    "token-classification": ModernBertForTokenClassification,
    "question-answering": ModernBertForQuestionAnswering,
    "fill-mask": ModernBertForMaskedLM,
}
