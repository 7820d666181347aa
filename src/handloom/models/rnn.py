"""Recurrent models, a family of our own ("handloom-rnn"): an LSTM or GRU over word, subword or character embeddings.

As a language model (Mikolov and others 2010; Zaremba, Sutskever and Vinyals 2014), perhaps with the table of words for
an output layer (Press and Wolf 2017) and weight dropout (Merity, Keskar and Socher 2018); as an encoder in one or both
directions; and as an encoder and a decoder with attention (Luong, Pham and Manning 2015, "global", "general").

Batches are packed, and say beside that in which lanes the layers walk their sequences (nn/lanes.py): `arrange` adds
that to a batch on the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import handloom.tensor as ht
from handloom.errors import HandloomError
from handloom.models.config import Config, Fields, head_of
from handloom.models.encoder import Batch, Classifier, Encoder, QuestionAnswerer, first_rows, labelled_rows, last_rows
from handloom.models.language_model import LanguageModel
from handloom.nn.dropout import Dropout
from handloom.nn.embedding import Embedding
from handloom.nn.lanes import Lanes, layout, shapes
from handloom.nn.linear import Linear
from handloom.nn.module import Module
from handloom.nn.recurrent import GRU, LSTM, Recurrent, State
from handloom.tensor import Tensor

MODEL_TYPE = "handloom-rnn"
CELLS: dict[str, type[Recurrent]] = {"lstm": LSTM, "gru": GRU}
LONGEST = 2**20
"""Tokens of a sequence; the layers themselves know no limit."""


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(Config):
    """hidden_size is that of what the layers give: both directions together, where there are two."""

    cell: str
    embedding_size: int
    bidirectional: bool
    tied: bool  # the output layer's weight is the table of words
    weight_dropout: float
    lanes: int  # sequences that are walked side by side
    start: int  # the token that a decoder's text begins with

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start >= self.vocab_size:
            raise HandloomError(f"{self.path}: decoder_start_token_id is {self.start}, but there are "
                                f"{self.vocab_size} words")
        if self.bidirectional and self.hidden_size % 2:
            raise HandloomError(f"{self.path}: two directions need an even hidden_size, not {self.hidden_size}")
        if self.tied and self.embedding_size != self.hidden_size:
            raise HandloomError(f"{self.path}: with tie_word_embeddings, embedding_size ({self.embedding_size}) and "
                                f"hidden_size ({self.hidden_size}) must be equal")


def read_config(fields: Fields) -> RecurrentConfig:
    hidden = fields.whole("hidden_size", high=2**16)
    embedding = fields.whole_or("embedding_size", hidden, high=2**16)
    dropout = fields.rate("dropout", 0.0) or 0.0
    return RecurrentConfig(
        model_type=MODEL_TYPE,
        vocab_size=fields.whole("vocab_size", high=2**24),
        hidden_size=hidden,
        embedding_size=embedding,
        layers=fields.whole("num_layers", 1, high=256),
        heads=1,
        intermediate_size=hidden,
        positions=LONGEST,
        activation="tanh",
        cell=fields.choice("cell", tuple(CELLS), "lstm"),
        bidirectional=fields.flag("bidirectional", False),
        tied=fields.flag("tie_word_embeddings", embedding == hidden),
        lanes=fields.whole("lanes", 24, high=4096),
        start=fields.whole("decoder_start_token_id", 0, low=0, high=2**24),
        initializer_range=fields.positive("initializer_range", 0.05),
        hidden_dropout=dropout,
        attention_dropout=0.0,
        weight_dropout=fields.rate("weight_dropout", 0.0) or 0.0,
        classifier_dropout=dict.fromkeys(
            ("text-classification", "token-classification", "question-answering"), dropout),
        labels=fields.labels(),
        head=head_of(fields.values),
        source=dict(fields.values),
        path=fields.path,
    )


def layers(config: RecurrentConfig, width_in: int, bidirectional: bool) -> Recurrent:
    """The recurrent layers of a configuration, without values."""
    hidden = config.hidden_size // 2 if bidirectional else config.hidden_size
    return CELLS[config.cell](width_in, hidden, config.layers, True, config.hidden_dropout, bidirectional,
                              config.weight_dropout, rng=None)


class RNNModel(Encoder):
    """Embeddings and layers: hidden states [T, hidden], the forward direction's beside the backward one's.

    `side` is in front of the batch's names that it reads: "source_" for what an encoder reads beside a decoder.
    """

    prefix = "model."
    layers_prefix = "rnn."
    embeddings_prefixes = ("embeddings.",)

    def __init__(self, config: RecurrentConfig, side: str = "") -> None:
        self.config: RecurrentConfig = config
        self.side = side
        self.embeddings = Embedding(config.vocab_size, config.embedding_size, None)
        self.rnn = layers(config, config.embedding_size, config.bidirectional)
        self.dropout = Dropout(config.hidden_dropout)

    def in_layer(self, name: str, layer: int) -> bool:
        return name.removesuffix("_reverse").endswith(f"_l{layer}")

    def arrange(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        found = layout(np.diff(batch[f"{self.side}starts"]), self.config.lanes)
        return {self.side + name: array for name, array in found.items()}

    def arranged(self) -> dict[str, tuple[str, ...]]:
        return shapes(self.config.lanes, self.side)

    def forward(self, batch: Batch) -> Tensor:
        return self.walk(batch)[0]

    def walk(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Hidden states [T, hidden], and the states after each sequence; `state` holds those before, zeros if None."""
        lanes = Lanes(self.config.lanes, batch, self.side)
        words = ht.take(batch[f"{self.side}ids"], lanes.array("cells"))
        y, last = self.rnn(self.dropout(self.embeddings(words)), state, lanes)
        return self.dropout(lanes.gather(y)), last


class RNNForCausalLM(LanguageModel):
    encoder_name = "model"

    def __init__(self, config: RecurrentConfig) -> None:
        if config.bidirectional:
            raise HandloomError(f"{config.path}: a language model reads in one direction; bidirectional must be false")
        self.config = config
        self.model = RNNModel(config)
        self.lm_head = None if config.tied else Linear(config.hidden_size, config.vocab_size, bias=False, rng=None)

    @property
    def output_weight(self) -> Tensor:
        return self.model.embeddings.weight if self.lm_head is None else self.lm_head.weight

    def stream(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Truncated back-propagation's half: ids i32 [time, rows] of texts that go on from where the state was left.

        Gives hidden states [time · rows, hidden] and the state to go on from; no gradient flows into the one given.
        """
        time, rows = ids.shape
        model = self.model
        x = model.dropout(model.embeddings(ids.reshape(-1))).reshape(time, rows, model.config.embedding_size)
        y, last = model.rnn(x, None if state is None else tuple(ht.stop_gradient(part) for part in state))
        return model.dropout(y.reshape(-1, model.config.hidden_size)), last

    def begin(self, rows: int) -> State:
        """The state of `rows` texts that have not begun, as arrays."""
        rnn = self.model.rnn
        return (ht.zeros(rnn.num_layers, rows, rnn.hidden_size),) * rnn.states


class RNNForSequenceClassification(Classifier):
    """Logits [S, labels] from where each direction has read a whole sequence."""

    task = "text-classification"
    encoder_name = "model"

    def __init__(self, config: RecurrentConfig, labels: int) -> None:
        self.config = config
        self.model = RNNModel(config)
        self.dropout = Dropout(config.classifier_dropout["text-classification"])
        self.classifier = Linear(config.hidden_size, labels, rng=None)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        read = last_rows(hidden, batch)
        if self.model.config.bidirectional:
            half = self.config.hidden_size // 2
            read = ht.concatenate([read[:, :half], first_rows(hidden, batch)[:, half:]], 1)
        return self.classifier(self.dropout(read))


class RNNForTokenClassification(Classifier):
    """Logits [R, labels] of the rows that the batch names, else of all tokens."""

    task = "token-classification"
    encoder_name = "model"

    def __init__(self, config: RecurrentConfig, labels: int) -> None:
        self.config = config
        self.model = RNNModel(config)
        self.dropout = Dropout(config.classifier_dropout["token-classification"])
        self.classifier = Linear(config.hidden_size, labels, rng=None)

    def score(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.classifier(self.dropout(labelled_rows(hidden, batch)))


class RNNForQuestionAnswering(QuestionAnswerer):
    encoder_name = "model"
    make_encoder = RNNModel


class Attention(Module):
    """Decoder states [T, hidden] over encoder states [source tokens, hidden] of the same sequence -> [T, hidden]:
    tanh(W [context; state]), where a key weighs as softmax(state · W key) says."""

    def __init__(self, hidden: int) -> None:
        self.keys = Linear(hidden, hidden, bias=False, rng=None)
        self.joined = Linear(2 * hidden, hidden, bias=False, rng=None)

    def forward(self, x: Tensor, memory: Tensor, batch: Batch) -> Tensor:
        seen = ht.attention(x, self.keys(memory), memory, batch["starts"], heads=1, scale=1.0,
                            key_starts=batch["source_starts"])
        return ht.tanh(self.joined(ht.concatenate([seen, x], 1)))


class RNNForConditionalGeneration(LanguageModel):
    """An encoder over source_ids, and a decoder over ids that begins with the states after the source has been read;
    of two directions, both halves of a state together."""

    task = "text2text-generation"
    encoder_name = "encoder"

    def __init__(self, config: RecurrentConfig) -> None:
        self.config = config
        self.encoder = RNNModel(config, "source_")
        self.decoder = layers(config, config.embedding_size, bidirectional=False)
        self.attention = Attention(config.hidden_size)
        self.dropout = Dropout(config.hidden_dropout)
        self.lm_head = None if config.tied else Linear(config.hidden_size, config.vocab_size, bias=False, rng=None)

    @property
    def output_weight(self) -> Tensor:
        return self.encoder.embeddings.weight if self.lm_head is None else self.lm_head.weight

    def arrange(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.encoder.arrange(batch), **layout(np.diff(batch["starts"]), self.encoder.config.lanes)}

    def arranged(self) -> dict[str, tuple[str, ...]]:
        return {**self.encoder.arranged(), **shapes(self.encoder.config.lanes)}

    def encode(self, batch: Batch) -> Tensor:
        memory, state = self.read(batch)
        return self.write(batch, memory, state)[0]

    def write(self, batch: Batch, memory: Tensor, state: State) -> tuple[Tensor, State]:
        """Hidden states [T, hidden] of targets whose sources have been read, and the states after each of them."""
        lanes = Lanes(self.encoder.config.lanes, batch)
        words = self.dropout(self.encoder.embeddings(ht.take(batch["ids"], lanes.array("cells"))))
        y, last = self.decoder(words, state, lanes)
        return self.dropout(self.attention(lanes.gather(y), memory, batch)), last

    def read(self, batch: Batch) -> tuple[Tensor, State]:
        """The sources' hidden states [source tokens, hidden], and the state that the decoder begins with."""
        memory, state = self.encoder.walk(batch)
        return memory, tuple(map(self._bridged, state))

    def advance(self, ids: Tensor, state: State, memory: Tensor, source_starts: Tensor) -> tuple[Tensor, State]:
        """Logits [S, vocab] of what comes after the next word of every text, ids i32[S]; and the state then."""
        y, state = self.decoder(self.encoder.embeddings(ids)[None], state)
        starts = ht.iota(ids.shape[0] + 1)
        hidden = self.attention(y[0], memory, {"starts": starts, "source_starts": source_starts})
        return self.score(hidden, {}), state

    def _bridged(self, state: Tensor) -> Tensor:
        """A state of the encoder [layers · directions, S, …] as one of the decoder [layers, S, hidden]."""
        if not self.encoder.config.bidirectional:
            return state
        both = [ht.concatenate([state[i], state[i + 1]], 1) for i in range(0, 2 * self.config.layers, 2)]
        return ht.stack(both)


CLASSES: dict[str | None, Any] = {
    None: RNNModel,
    "text-classification": RNNForSequenceClassification,
    "token-classification": RNNForTokenClassification,
    "question-answering": RNNForQuestionAnswering,
    "text-generation": RNNForCausalLM,
    "text2text-generation": RNNForConditionalGeneration,
}
