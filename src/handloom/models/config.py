"""config.json, read with care: what a model's shape is made of, each value checked, nothing else believed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handloom.errors import HandloomError
from handloom.nn.rotary import RotarySettings

if TYPE_CHECKING:
    from typing_extensions import Self

CONFIG_LIMIT = 4 * 2**20  # bytes
TASKS = (
    "text-classification", "token-classification", "question-answering", "fill-mask", "text-generation",
    "text2text-generation",
)  # fmt: skip
LABELLED = ("text-classification", "token-classification")  # tasks whose head has an output for each label
# How the head's name in `architectures` ends, by task.
HEADS = {
    "text-classification": ("ForSequenceClassification",),
    "token-classification": ("ForTokenClassification",),
    "question-answering": ("ForQuestionAnswering",),
    "fill-mask": ("ForMaskedLM",),
    "text2text-generation": ("ForConditionalGeneration", "MTModel", "T5WithLMHeadModel"),
    "text-generation": ("ForCausalLM", "LMHeadModel"),
}
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu", "silu", "swish", "tanh")


def read_json(path: Path) -> dict[str, Any]:
    """config.json or one of its like as a dictionary; HandloomError if it is missing, huge or no JSON object."""
    try:
        if path.stat().st_size > CONFIG_LIMIT:
            raise HandloomError(f"{path}: larger than {CONFIG_LIMIT} bytes, which no honest configuration is")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HandloomError(f"{path}: missing; a model directory holds config.json, model.safetensors and "
                            "a tokenizer's files") from error
    except OSError as error:
        raise HandloomError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise HandloomError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise HandloomError(f"{path}: must hold a JSON object")
    return found


def is_stopped(folder: Path) -> bool:
    """Whether it is the folder of a training whose model is not there yet. A settings.json beside a model may be
    anybody's; with a log it is ours."""
    begun = (folder / "settings.json").is_file() and not (folder / "handloom.json").is_file()
    return begun and ((folder / "log.jsonl").is_file() or not (folder / "config.json").is_file())


def check_finished(folder: Path) -> None:
    """HandloomError for the folder of a training whose model is not there yet."""
    if is_stopped(folder):
        raise HandloomError(f"{folder} is a training that was stopped; `handloom resume {folder}` ends it")


@dataclass(frozen=True)
class Fields:
    """A configuration with checked access; errors name the file and the field."""

    values: Mapping[str, Any]
    path: str = "config.json"

    def wrong(self, name: str, need: str) -> HandloomError:
        return HandloomError(f"{self.path}: {name} must be {need}, not {self.values.get(name)!r}")

    def whole(self, name: str, default: int | None = None, low: int = 1, high: int = 2**20) -> int:
        value = self.values.get(name, default)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def whole_or(self, name: str, default: int, low: int = 1, high: int = 2**20) -> int:
        """The same for a field that may be null, which means the default."""
        return default if self.values.get(name) is None else self.whole(name, None, low, high)

    def rate(self, name: str, default: float | None) -> float | None:
        """A dropout rate, or the default where the field is missing or null."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise self.wrong(name, "at least 0 and below 1")
        return float(value)

    def positive(self, name: str, default: float, high: float = 1e6) -> float:
        """A number above 0 and below `high`, or the default where the field is missing or null."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < high:
            raise self.wrong(name, "a positive number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def choice(self, name: str, known: Sequence[str], default: str) -> str:
        value = self.values.get(name, default)
        if value not in known:
            near = difflib.get_close_matches(str(value), known, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise HandloomError(f"{self.path}: {name} {value!r} is not supported{hint}; known: {', '.join(known)}")
        return str(value)

    def false(self, name: str) -> None:
        """Refuses what is not built yet, by its name."""
        if self.values.get(name):
            raise HandloomError(f"{self.path}: {name} = {self.values[name]!r} is not supported")

    def labels(self) -> tuple[str, ...]:
        """The names in id2label, in the order of their numbers; () if there are none."""
        found = self.values.get("id2label")
        if not found:
            return ()
        if not isinstance(found, dict) or set(found) != {str(number) for number in range(len(found))}:
            raise HandloomError(f"{self.path}: id2label must map the numbers 0 to n-1 to names")
        names = tuple(found[str(number)] for number in range(len(found)))
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise HandloomError(f"{self.path}: the names in id2label must be different texts")
        return names


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a model's shape is made of, under one name whatever its family calls it.

    Kinds of families extend it; each family reads its own config.json into one (`read_config`).
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    positions: int  # that there are embeddings for, or that the model was trained with
    activation: str
    initializer_range: float
    hidden_dropout: float
    attention_dropout: float
    classifier_dropout: dict[str, float] = field(default_factory=dict)  # by task
    labels: tuple[str, ...] = ()
    head: str | None = None  # the task whose head the checkpoint bears
    source: Mapping[str, Any] = field(default_factory=dict, repr=False)  # config.json as it was
    path: str = field(default="config.json", repr=False, compare=False)  # for errors

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise HandloomError(f"{self.path}: the hidden size {self.hidden_size} is not divisible by "
                                f"{self.heads} attention heads")

    @property
    def max_length(self) -> int:
        """The longest sequence, special tokens included."""
        return self.positions

    @property
    def is_encoder_decoder(self) -> bool:
        """Of a family with models of both kinds, its head tells."""
        return self.head == "text2text-generation"

    def with_dropout(self, rate: float) -> Self:
        """The same with this rate wherever something is dropped."""
        return replace(self, hidden_dropout=rate, attention_dropout=rate,
                       classifier_dropout=dict.fromkeys(self.classifier_dropout, rate))

    def to_json(self, architecture: str | None = None, labels: Sequence[str] | None = None) -> dict[str, Any]:
        """config.json for saving: everything that was read, with the architecture and the labels of today."""
        out = dict(self.source)
        out["model_type"] = self.model_type
        out["dtype" if "dtype" in out else "torch_dtype"] = "float32"
        if architecture is not None:
            out["architectures"] = [architecture]
        if labels is not None:
            out["id2label"] = {str(number): name for number, name in enumerate(labels)}
            out["label2id"] = {name: number for number, name in enumerate(labels)}
            out.pop("num_labels", None)
            out.pop("problem_type", None)
        return out


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Config):
    """An encoder that learns its positions: BERT and its like."""

    first_position: int  # row of a sequence's first token: 0, or pad + 1
    types: int  # rows of the segment table; 0: there is none
    layer_norm_eps: float
    pad_token_id: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions <= self.first_position:
            raise HandloomError(f"{self.path}: {self.positions} positions leave no room behind row "
                                f"{self.first_position}")

    @property
    def max_length(self) -> int:
        return self.positions - self.first_position


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(Config):
    """A decoder: each token sees those before it."""

    norm_eps: float
    key_value_heads: int
    head_size: int
    tied: bool  # the output layer's weight is the table of words
    embedding_dropout: float = 0.0
    scaled: bool = True  # scores are divided by √head_size
    rotary: RotarySettings | None = None  # None: positions are learned
    windows: tuple[int | None, ...] = ()  # by layer, how far back a token sees; (): all the way
    attention_bias: bool = False  # of the projections to queries, keys and values
    output_bias: bool = False  # of attention's own output projection
    mlp_bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads % self.key_value_heads:
            raise HandloomError(f"{self.path}: {self.heads} attention heads cannot share {self.key_value_heads} "
                                "key-value heads evenly")

    def with_dropout(self, rate: float) -> Self:
        return replace(super().with_dropout(rate), embedding_dropout=rate)

    def window(self, layer: int) -> int | None:
        return self.windows[layer] if self.windows else None


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(Config):
    """An encoder and a decoder that looks at what was encoded. `layers`, `heads` and `intermediate_size` are the
    encoder's."""

    norm_eps: float
    decoder_layers: int
    decoder_heads: int
    decoder_intermediate_size: int
    head_size: int  # of the encoder
    decoder_width: int  # of the decoder's keys, all heads together
    tied: bool  # the output layer's weight is the table of words
    start: int  # the token that a target begins with

    @property
    def is_encoder_decoder(self) -> bool:
        return True

    def __post_init__(self) -> None:  # heads need not share the hidden size among them
        if self.start >= self.vocab_size:
            raise HandloomError(f"{self.path}: decoder_start_token_id {self.start} is outside of the vocabulary of "
                                f"{self.vocab_size}")


def head_of(values: Mapping[str, Any]) -> str | None:
    """The task whose head `architectures` announces, if it is one that we know."""
    names = values.get("architectures")
    first = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    return next((task for task, endings in HEADS.items() if first.endswith(endings)), None)
