"""generation_config.json: obeyed as transformers obeys it, and refused where it asks for what there is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import write

from handloom.errors import HandloomError
from handloom.generate.defaults import load
from handloom.generate.generator import Writer
from handloom.models.registry import load_config
from handloom.text.tokenizer import Tokenizer

BART = {"vocab_size": 90, "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 3,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
        "init_std": 0.5}  # fmt: skip
LLAMA = {"vocab_size": 90, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
         "intermediate_size": 40, "max_position_embeddings": 64, "initializer_range": 0.5}  # fmt: skip
IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
SUMMARY = {"decoder_start_token_id": 1, "forced_bos_token_id": 2, "forced_eos_token_id": 1, "num_beams": 4,
           "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram_size": 3, "min_length": 6,
           "max_length": 14}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bart, summaries": ("bart", SUMMARY),
    "bart, greedy": ("bart", {"decoder_start_token_id": 7, "forced_bos_token_id": 9, "suppress_tokens": [11, 30, 31],
                              "begin_suppress_tokens": [40, 41, 42], "bad_words_ids": [[50], [1], [51, 52]],
                              "eos_token_id": [1, 33, 34], "min_new_tokens": 4, "max_new_tokens": 12,
                              "repetition_penalty": 1.2}),
    "bart, renormalised": ("bart", {"decoder_start_token_id": 1, "num_beams": 3, "renormalize_logits": True,
                                    "early_stopping": "never", "length_penalty": 0.6, "max_length": 12,
                                    "bad_words_ids": [[n] for n in range(3, 70, 2)], "forced_eos_token_id": 1}),
    "llama": ("llama", {"eos_token_id": [1, *range(40, 60)], "min_new_tokens": 3, "suppress_tokens": [5, 6],
                        "begin_suppress_tokens": [*range(60, 80)], "no_repeat_ngram_size": 2, "max_new_tokens": 12}),
    "llama, beams": ("llama", {"eos_token_id": [1, *range(40, 60)], "min_length": 9, "num_beams": 3,
                               "forced_eos_token_id": [1, 44], "length_penalty": -0.5, "max_new_tokens": 12}),
}  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_as_transformers(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model_type, said = CASES[name]
    write(tmp_path)  # the tokenizer
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(model_type, **(BART if model_type == "bart" else LLAMA), **IDS)
    auto = transformers.AutoModelForSeq2SeqLM if model_type == "bart" else transformers.AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager").eval()
    model.generation_config = transformers.GenerationConfig(**{**IDS, **said})
    model.save_pretrained(tmp_path)
    ours = Writer.from_pretrained(tmp_path)
    for text in ("the cat", "dog lay by the door", "mat"):
        given = ours.encode(text)
        read = torch.tensor(given[None].astype("int64"))
        wanted = model.generate(read, attention_mask=torch.ones_like(read))[0].tolist()  # <s> is this config's padding
        wanted = wanted[1 if model_type == "bart" else len(given) :]
        ends = said.get("eos_token_id", 1)
        stop = next((i + 1 for i, t in enumerate(wanted) if t in (ends if isinstance(ends, list) else [ends])), None)
        assert ours.generate(text).ids == wanted[:stop], text
        # the user's word counts for more
        assert len(ours.generate(text, max_new_tokens=2, min_new_tokens=0, min_length=0).ids) <= 2


def defaults(folder: Path, values: Any) -> Any:
    (folder / "generation_config.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return load(folder, load_config(folder), Tokenizer.load(folder))


def test_what_a_file_says(tmp_path: Path) -> None:
    write(tmp_path)
    found = defaults(tmp_path, {"eos_token_id": 5, "max_length": 9, "do_sample": True, "temperature": 0.6,
                                "num_beams": None, "suppress_tokens": 4, "min_length": None})  # fmt: skip
    assert (found.ends, found.most, found.beams.count) == ({5}, None, 1)
    assert found.sampling["suppress"] == (4,) and "temperature" not in found.sampling
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_beams": 3, "repetition_penalty": 1.5}))
    found = load(tmp_path, load_config(tmp_path), Tokenizer.load(tmp_path))
    assert found.beams.count == 3 and found.sampling["repetition_penalty"] == 1.5


@pytest.mark.parametrize(("values", "message"), [
    ("{", "generation_config.json: not valid JSON"),
    ({"num_beams": 0}, "generation_config.json: num_beams must be a whole number from 1"),
    ({"forced_bos_token_id": 90_000}, "forced_bos_token_id names the token 90000; the vocabulary has 0 to"),
    ({"suppress_tokens": [-1]}, "suppress_tokens names the token -1; the vocabulary has 0 to"),
    ({"bad_words_ids": [[]]}, "bad_words_ids must be a list of lists of tokens"),
    ({"bad_words_ids": [["a"]]}, "bad_words_ids names the token 'a'"),
    ({"early_stopping": "soon"}, "early_stopping must be true, false or \"never\""),
    ({"length_penalty": "x"}, "length_penalty must be a number"),
    ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size must be a whole number"),
    ({"encoder_no_repeat_ngram_size": 3}, "encoder_no_repeat_ngram_size = 3 is not supported"),
    ({"exponential_decay_length_penalty": [5, 1.1]}, "exponential_decay_length_penalty = .* is not supported"),
])  # fmt: skip
def test_wrong_files(values: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(HandloomError, match=message):
        defaults(tmp_path, values)


def test_rules_that_forbid_everything(tmp_path: Path) -> None:
    write(tmp_path)
    ours = Writer.from_pretrained(tmp_path)
    with pytest.raises(HandloomError, match="no word may come: the rules"):
        ours.beams("the cat", suppress=range(ours.decoder.vocabulary), max_new_tokens=3)
