"""Small decoders of random weights, one a form of attention."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from safetensors.numpy import save_file

from handloom.errors import UsageError
from handloom.generate.decoder import CachedDecoder
from handloom.generate.generator import Writer
from handloom.models.config import Fields
from handloom.models.language_model import LanguageModel
from handloom.models.registry import FAMILIES, new_model

SHARED = {
    "vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64, "initializer_range": 0.3, "eos_token_id": 7,
    "bos_token_id": 1,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 90, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3,
             "eos_token_id": 7, "bos_token_id": 1, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "llama": {**SHARED, "tie_word_embeddings": True},
    "mistral": {**SHARED, "sliding_window": 5},
}  # fmt: skip


def config_of(name: str) -> dict[str, Any]:
    return {"model_type": name, **CONFIGS[name]}


@cache
def model_of(name: str) -> LanguageModel:
    config = FAMILIES[name].read_config(Fields(config_of(name)))
    model = new_model(config, "text-generation", np.random.default_rng(5))
    assert isinstance(model, LanguageModel)
    return model


@cache
def decoder_of(name: str, threads: int | None = None) -> CachedDecoder:
    return CachedDecoder(model_of(name), threads)


TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ eos_token }}"
TEXT = "the cat sat on the mat and the dog lay by the door, 你好 🙂"


def write(folder: Path) -> Path:
    """A folder with the Llama and a byte-level tokenizer that puts <s> in front; returns it."""
    folder.mkdir(exist_ok=True)
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    special = ["<s>", "</s>"]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    bpe.train_from_iterator([TEXT + " <user>Hi<assistant> What is Paris? Once upon a time"] * 3, trainer)
    bpe.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    bpe.save(str(folder / "tokenizer.json"))
    about = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "config.json").write_text(json.dumps({**config_of("llama"), "architectures": ["LlamaForCausalLM"]}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 5]}))
    save_file({name: value.numpy() for name, value in model_of("llama").parameters().items()},
              folder / "model.safetensors")  # fmt: skip
    return folder


def keeps_to_what_is_wanted(generator: Writer, prompts: list[str]) -> None:
    """Whatever reads the prompts: patterns, choices and words hold of what is written, drawn or searched."""
    pattern = "(cat|dog)( (on|by) (the mat|a door)){1,2}"
    rule = generator.constraint(pattern=pattern)
    for how in ({}, {"temperature": 1.5, "seed": 3}):
        for found in generator.generate(prompts, constraint=rule, max_new_tokens=12, **how):
            assert re.fullmatch(pattern, found.text), found.text
    assert re.fullmatch(pattern, generator.beams(prompts[0], beams=3, constraint=rule, max_new_tokens=12)[0].text)
    assert generator.generate(prompts[0], choices=["the dog", "a cat"]).text in ("the dog", "a cat")
    best = generator.beams(prompts[0], beams=4, required=["door"], forbidden=["the"], max_new_tokens=10)[0].text
    assert re.search(r"\bdoor\b", best) and not re.search(r"\bthe", best), best
    with pytest.raises(UsageError, match="1 constraint: one is needed for each"):
        generator.generate(prompts, constraint=[rule])
