"""Tiny random models of every family and task, as transformers makes them: what benchmarks.conformance walks.

A family needs a line in TINY: its variants, each a label and the fields of transformers' configuration.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handloom.models.registry import FAMILIES, load_model

Array = NDArray[Any]
VOCABULARY = 80
LABELS = ("red", "green", "blue")
LENGTHS = (7, 2, 11, 5)
SOURCES = (3, 12, 1, 6)  # lengths of what an encoder–decoder reads
FIRST_WORD = 3  # ids below are special in every tiny model

_BERT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48,
         "max_position_embeddings": 40}  # fmt: skip
_DISTILBERT = {"dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 48, "max_position_embeddings": 40}
_ROBERTA = {**_BERT, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_MODERNBERT = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 20,
               "max_position_embeddings": 40, "local_attention": 6, "pad_token_id": 0, "cls_token_id": 1,
               "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
_DEBERTA = {**_BERT, "relative_attention": True, "position_buckets": 4, "max_relative_positions": 9,
            "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "position_biased_input": False,
            "norm_rel_ebd": "layer_norm", "type_vocab_size": 0, "layer_norm_eps": 1e-7}  # fmt: skip
_BIASES = dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), True)
_GPT2 = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 40, "pad_token_id": 0}
_LLAMA = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
          "intermediate_size": 40, "max_position_embeddings": 40, "pad_token_id": 0}  # fmt: skip
_LONGROPE = {"rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": 8,
             "short_factor": [1.0, 1.5], "long_factor": [1.25, 6.0]}  # fmt: skip
# the bias of T5's distances reaches beyond the farthest bucket; transformers' cache wants as many layers on both sides
_T5 = {"d_model": 20, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 3, "relative_attention_num_buckets": 8,
       "relative_attention_max_distance": 6, "decoder_start_token_id": 2, "pad_token_id": 0,
       "eos_token_id": 1}  # fmt: skip
_GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
_BART = {"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 3,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 32, "max_position_embeddings": 40,
         "decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
         "forced_eos_token_id": None}  # fmt: skip

TINY: dict[str, dict[str, dict[str, Any]]] = {
    "bert": {"": _BERT, "relu, one type": {**_BERT, "hidden_act": "relu", "type_vocab_size": 1}},
    "distilbert": {"": _DISTILBERT, "tanh-GELU": {**_DISTILBERT, "activation": "gelu_new"}},
    "roberta": {"": _ROBERTA},
    "xlm-roberta": {"": _ROBERTA, "two types": {**_ROBERTA, "type_vocab_size": 2}},
    "electra": {"": {**_BERT, "embedding_size": 16}, "equal widths": {**_BERT, "embedding_size": 24}},
    "mpnet": {"": {**_ROBERTA, "max_position_embeddings": 400}},
    "deberta-v2": {
        "v3": _DEBERTA,
        "v2, one layer of convolution": {**_DEBERTA, "conv_kernel_size": 3, "conv_act": "gelu", "type_vocab_size": 2},
        "newer head, no distances": {**_DEBERTA, "legacy": False, "relative_attention": False},
        "own projections, no buckets": {**_DEBERTA, "share_att_key": False, "position_buckets": -1,
                                        "norm_rel_ebd": "none", "max_relative_positions": 6,
                                        "position_biased_input": True, "embedding_size": 16, "pos_att_type": ["c2p"]},
    },
    "modernbert": {"": _MODERNBERT, "biases, mean": {**_MODERNBERT, **_BIASES, "classifier_pooling": "mean"}},
    "gpt2": {"": _GPT2, "free output": {**_GPT2, "tie_word_embeddings": False, "n_inner": 40}},
    "llama": {"": _LLAMA, "biases, tied": {**_LLAMA, "attention_bias": True, "mlp_bias": True,
                                           "tie_word_embeddings": True},
              "texts longer than at first": {**_LLAMA, "rope_parameters": _LONGROPE}},
    "mistral": {"": {**_LLAMA, "sliding_window": 5, "head_dim": 8}},
    "qwen2": {"": {**_LLAMA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}},
    "qwen3": {"": {**_LLAMA, "head_dim": 8, "tie_word_embeddings": True}},
    "t5": {"": _T5, "gated, free output": {**_T5, **_GATED}},
    "mt5": {"": {**_T5, **_GATED}},
    "bart": {"": _BART, "scaled, relu": {**_BART, "scale_embedding": True, "activation_function": "relu"}},
    "marian": {"": {**_BART, "scale_embedding": True, "activation_function": "swish"}},
}

# Families that transformers does not know: their tests compare them with PyTorch's layers.
OWN = {"handloom-rnn"}

AUTO = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "fill-mask": "AutoModelForMaskedLM",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
}


@dataclass(frozen=True)
class Theirs:
    """What transformers computes in f64: logits as ours are packed, the mean loss, gradients by parameter."""

    logits: Array
    loss: float
    gradients: dict[str, Array]


@dataclass(frozen=True)
class Case:
    """A tiny model of a family for a task. Equal cases draw equal weights and batches."""

    model_type: str
    variant: str
    task: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.model_type, self.variant, self.task)))

    @property
    def fields(self) -> dict[str, Any]:
        return TINY[self.model_type][self.variant]

    @cached_property
    def folder(self) -> Path:
        """A folder that transformers saved the model in."""
        with _quiet():
            self.model.save_pretrained(self._room.name)
        return Path(self._room.name)

    @cached_property
    def _room(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory(prefix="handloom-conformance-")

    @cached_property
    def model(self) -> Any:
        """transformers' model in evaluation mode, all weights random, biases and norms included."""
        import torch
        import transformers

        labels = dict(enumerate(LABELS)) if "classification" in self.task else {}
        named = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}} if labels else {}
        config = transformers.AutoConfig.for_model(self.model_type, vocab_size=VOCABULARY, **named, **self.fields)
        torch.manual_seed(zlib.crc32(str(self).encode()))
        model = getattr(transformers, AUTO[self.task]).from_config(config, attn_implementation="eager").eval()
        output = model.get_output_embeddings()  # None where the head is a classifier
        tied = output is not None and output.weight is model.get_input_embeddings().weight
        if tied and self.fields.get("tie_word_embeddings") is False:
            output.weight = torch.nn.Parameter(output.weight.clone())  # T5's is the table of words all the same
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not parameter.requires_grad:  # Marian's positions
                    continue
                norm = any(word in name.lower() for word in ("norm", "ln_"))
                centre = 1.0 if norm and name.endswith("weight") else 0.0
                parameter.copy_(centre + 0.2 * torch.randn_like(parameter))
        return model

    def ours(self, dropout: float | None = None) -> Any:
        """The same model, loaded by Handloom."""
        model, _, report = load_model(self.folder, self.task, dropout=dropout)
        assert report.new == () and report.unexpected == (), f"{self}: {report.lines()}"
        return model

    @cached_property
    def batch(self) -> dict[str, Array]:
        """A packed batch of four sequences with labels."""
        rng = np.random.default_rng(7)
        total = sum(LENGTHS)
        kinds = self.fields.get("type_vocab_size", 2) if self.model_type in ("bert", "electra", "deberta-v2") else 1
        types = np.concatenate([np.arange(length) >= length // 2 for length in LENGTHS]) * (kinds > 1)
        tokens = self.task != "text-classification"
        classes = {"question-answering": 2, "text-classification": len(LABELS), "token-classification": len(LABELS)}
        labels = rng.integers(0, classes.get(self.task, VOCABULARY), total if tokens else len(LENGTHS))
        if tokens:
            labels[rng.random(total) < 0.3] = -100
        batch = {
            "ids": rng.integers(FIRST_WORD, VOCABULARY, total),
            "positions": np.concatenate([np.arange(length) for length in LENGTHS]),
            "types": types,
            "starts": np.cumsum([0, *LENGTHS]),
            "labels": labels,
        }
        if self.task == "text2text-generation":
            batch |= {
                "source_ids": rng.integers(FIRST_WORD, VOCABULARY, sum(SOURCES)),
                "source_positions": np.concatenate([np.arange(length) for length in SOURCES]),
                "source_starts": np.cumsum([0, *SOURCES]),
            }
        return {name: values.astype(np.int32) for name, values in batch.items()}

    @cached_property
    def theirs(self) -> Theirs:
        return run_transformers(self.model, self.batch)


def run_transformers(model: Any, batch: dict[str, Array]) -> Theirs:
    """A packed batch, one sequence at a time (what is padded changes no result here), in f64."""
    import torch

    starts, first = batch["starts"].tolist(), next(model.parameters()).dtype
    model.double().zero_grad()
    found = []
    for number, (begin, end) in enumerate(pairwise(starts)):
        arguments = {"input_ids": torch.from_numpy(batch["ids"][begin:end].astype(np.int64))[None]}
        if "source_ids" in batch:
            first_of, last_of = batch["source_starts"][number : number + 2]
            source = torch.from_numpy(batch["source_ids"][first_of:last_of].astype(np.int64))[None]
            arguments = {"input_ids": source, "decoder_input_ids": arguments["input_ids"]}
        if batch["types"].any():
            arguments["token_type_ids"] = torch.from_numpy(batch["types"][begin:end].astype(np.int64))[None]
        said = model(**arguments)
        asked = "start_logits" in said
        found.append(torch.stack([said.start_logits[0], said.end_logits[0]], 1) if asked else said.logits[0])
    logits = torch.cat(found) if len(batch["labels"]) == len(batch["ids"]) else torch.stack(found)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch["labels"].astype(np.int64)))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {n: p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}
    model.to(first).zero_grad()
    return Theirs(logits.detach().numpy(), float(loss.detach()), gradients)


@cache
def cases(model_type: str) -> tuple[Case, ...]:
    """All variants of a family in all its tasks (questions in the first alone: their head is that of tokens with two
    outputs); the first stands for the family where one is enough."""
    tasks = [task for task in FAMILIES[model_type].classes if task is not None]
    first, *more = TINY[model_type]
    others = [task for task in tasks if task != "question-answering"]
    return (*(Case(model_type, first, task) for task in tasks),
            *(Case(model_type, variant, task) for variant in more for task in others))  # fmt: skip


def _quiet() -> Any:
    """No progress bars of transformers on the terminal."""
    import contextlib

    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return contextlib.nullcontext()
