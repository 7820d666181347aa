"""A tiny Marian that transformers saved, its tokenizer trained here, translates as it does there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from marian_folder import ENGLISH, write
from typer.testing import CliRunner

from handloom.cli.main import app
from handloom.generate.generator import Writer

WIDTH = {"d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 3,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
         "scale_embedding": True, "activation_function": "swish", "init_std": 0.4}  # fmt: skip
TEXTS = [">>fra<< the cat lives in Paris", *ENGLISH[1:4], "北京 🚀"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    made = write(tmp_path_factory.mktemp("marian"))
    words = json.loads((made / "vocab.json").read_text(encoding="utf-8"))
    ids = {"pad_token_id": words["<pad>"], "eos_token_id": 0, "decoder_start_token_id": words["<pad>"],
           "forced_eos_token_id": 0, "bos_token_id": None}  # fmt: skip
    torch.manual_seed(1)
    model = transformers.MarianMTModel(transformers.MarianConfig(vocab_size=len(words), **WIDTH, **ids)).eval()
    model.generation_config = transformers.GenerationConfig(
        **ids, bad_words_ids=[[words["<pad>"]]], num_beams=3, max_length=24, early_stopping=True, length_penalty=0.8
    )
    model.save_pretrained(made)
    return made


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Recommended")
def test_translates_as_transformers(folder: Path) -> None:
    import transformers

    model = transformers.MarianMTModel.from_pretrained(folder, attn_implementation="eager").eval()
    read = transformers.MarianTokenizer.from_pretrained(folder)
    ours = Writer.from_pretrained(folder)
    greedy: Any = ours.generate(TEXTS, max_new_tokens=16, stop="no such text")
    for text, found in zip(TEXTS, greedy, strict=True):
        given = read(text, return_tensors="pt")
        wanted = model.generate(**given, num_beams=1, do_sample=False, max_new_tokens=16)[0]
        assert found.ids == wanted[1:].tolist()
        assert found.text == read.decode(wanted, skip_special_tokens=True)
        wanted = model.generate(**given)[0]
        found = ours.generate(text)
        assert found.ids == wanted[1:].tolist() and found.finish == "end"
        assert found.text == read.decode(wanted, skip_special_tokens=True) == "".join(ours.stream(text))
    done = CliRunner().invoke(app, ["generate", str(folder), TEXTS[0]])
    assert done.exit_code == 0 and done.stdout == ours.generate(TEXTS[0]).text + "\n"
