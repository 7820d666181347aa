"""GGUF: every type as its own package takes it apart, models in it, and files that are cut short or lie."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import save_model
from decoders import packed, rows_of, tensors, tiny
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, quants
from gguf_bytes import ARRAY, LLAMA, described, gguf, tensors_of, text

from handloom.errors import HandloomError
from handloom.gguf_file import GgufFile, within
from handloom.models.registry import load_config, load_model
from handloom.models.weights import Weights
from handloom.text.tokenizer import Tokenizer

ONES = np.ones((3, 8), np.float32)
TYPES = [kind for kind in GGMLQuantizationType if kind.name in ("F32", "F16", *(t.name for t in quants._type_traits))]


def written(folder: Path, content: bytes, name: str = "model.gguf") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_every_type_that_the_package_takes_apart(kind: GGMLQuantizationType, tmp_path: Path) -> None:
    block, size = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(int(kind))
    raw = rng.integers(0, 120, (3, 2 * size), np.uint8)  # whose halves are finite numbers
    writer = GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("before", np.ones(5, np.float32))
    writer.add_tensor("some.weight", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GgufFile(tmp_path / "x.gguf")
    assert file.entries["some.weight"].dtype == kind.name and file.entries["some.weight"].shape == (3, 2 * block)
    np.testing.assert_array_equal(file.read_f32("some.weight"), quants.dequantize(raw, kind))
    np.testing.assert_array_equal(file.read_f32("before"), np.ones(5))


def test_a_type_that_cannot_be_taken_apart(tmp_path: Path) -> None:
    content = gguf({}, {}, count=1, descriptions=described("a.weight", (1, 32), int(GGMLQuantizationType.Q8_1), 0))
    file = GgufFile(written(tmp_path, content + bytes(64)))
    with pytest.raises(HandloomError, match=r"tensor 'a\.weight' is of type Q8_1, which cannot be taken apart"):
        file.read_f32("a.weight")


# --- models -----------------------------------------------------------------------------------------------------------

METADATA: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "mistral": {**LLAMA, "llama.attention.sliding_window": 5, "llama.attention.key_length": 8,
                "llama.rope.dimension_count": 8},
    "gpt2": {"general.architecture": "gpt2", "gpt2.block_count": 2, "gpt2.context_length": 40,
             "gpt2.embedding_length": 24, "gpt2.feed_forward_length": 96, "gpt2.attention.head_count": 3,
             "gpt2.attention.layer_norm_epsilon": 1e-5},
    **{kind: {name.replace("llama", kind): kind if value == "llama" else value for name, value in LLAMA.items()}
       for kind in ("qwen2", "qwen3")},
}
METADATA["qwen3"].update({"qwen3.attention.key_length": 8, "qwen3.rope.dimension_count": 8})


@pytest.mark.parametrize(("variant", "model_type"), [
    ("llama", "llama"), ("llama-biased", "llama"), ("mistral", "mistral"), ("qwen2-all", "qwen2"),
    ("qwen3-free", "qwen3"), ("gpt2", "gpt2"), ("gpt2-untied", "gpt2"),
])
def test_a_model_and_the_way_back_to_a_directory(variant: str, model_type: str, tmp_path: Path) -> None:
    model = tiny(variant)
    content = gguf(METADATA[model_type], tensors_of(model, woven=model_type in ("llama", "mistral")))
    path = written(tmp_path, content)
    found, config, report = load_model(path, "text-generation")
    assert report.new == () and report.unexpected == () and config.model_type == model_type
    batch = tensors(packed(rows_of()))
    np.testing.assert_array_equal(found(batch).numpy(), model(batch).numpy())
    in_folder, _, _ = load_model(tmp_path, "text-generation")
    np.testing.assert_array_equal(in_folder(batch).numpy(), model(batch).numpy())

    save_model(found, tmp_path / "out")
    again, _, report = load_model(tmp_path / "out", "text-generation")
    assert report.new == () and report.unexpected == () and report.files == ("model.safetensors",)
    np.testing.assert_array_equal(again(batch).numpy(), model(batch).numpy())


def test_llama_3_divisors_become_its_settings(tmp_path: Path) -> None:
    base = {**LLAMA, "llama.rope.dimension_count": 64, "llama.attention.key_length": 64}
    turns = 8192 * 500_000.0 ** -(np.arange(0, 64, 2) / 64) / (2 * np.pi)
    kept = np.clip((turns - 1) / 3, 0, 1)
    divisors = (1 / (kept + (1 - kept) / 32)).astype(np.float32)
    words = {"token_embd.weight": np.ones((8, 24), np.float32)}
    metadata = {**base, "llama.rope.freq_base": 500_000.0}
    config = load_config(written(tmp_path, gguf(metadata, {**words, "rope_freqs.weight": divisors})))
    assert config.source["rope_scaling"] == {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                                             "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    with pytest.raises(HandloomError, match=r"rope_freqs\.weight stretches rotary positions in a way"):
        load_config(written(tmp_path, gguf(metadata, {**words, "rope_freqs.weight": divisors + 0.5})))


@pytest.mark.parametrize(("changes", "message"), [
    ({"general.architecture": "rwkv7"}, "the architecture 'rwkv7' is not supported; known are llama, qwen2, qwen3"),
    ({"general.architecture": 3}, "the architecture 3 is not supported"),
    ({"llama.block_count": None}, r"the metadata lacks llama\.block_count"),
    ({"llama.attention.head_count_kv": np.array([2, 1], np.int32)}, "head_count_kv differs between layers"),
    ({"llama.attention.head_count": 5, "llama.rope.dimension_count": 4}, "24 is not divisible by 5"),
    ({"llama.rope.scaling.type": "longrope"}, "the rotary scaling 'longrope' is not supported"),
    ({"llama.attention.value_length": 8}, "values have another head size than keys"),
    ({"llama.rope.dimension_count": 2}, "a part of a head only"),
    ({"tokenizer.ggml.tokens": ["a"] * 81}, r"the tokenizer has 81 tokens, but token_embd\.weight has 80 rows"),
])
def test_metadata_that_is_missing_or_unknown(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    metadata = {key: value for key, value in {**LLAMA, **changes}.items() if value is not None}
    path = written(tmp_path, gguf(metadata, {"token_embd.weight": np.ones((80, 24), np.float32)}))
    with pytest.raises(HandloomError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_missing_tensors_and_shapes_that_disagree(tmp_path: Path) -> None:
    whole = tensors_of(tiny("llama"), woven=True)
    some = {name: array for name, array in whole.items() if name != "blk.1.ffn_up.weight"}
    with pytest.raises(HandloomError, match=r"lacks the tensor 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        load_model(written(tmp_path, gguf(LLAMA, some)), "text-generation")
    with pytest.raises(HandloomError, match=r"token_embd\.weight is missing"):
        load_config(written(tmp_path, gguf(LLAMA, {"output_norm.weight": ONES[0]})))
    larger = {**LLAMA, "llama.feed_forward_length": 48}
    with pytest.raises(HandloomError, match=r"mlp\.\w+\.weight' has shape .*40.*, but the configuration asks for .*48"):
        load_model(written(tmp_path, gguf(larger, whole)), "text-generation")


def test_which_file_a_path_means(tmp_path: Path) -> None:
    path = written(tmp_path, gguf({}, {}))
    assert within(path) == path == within(tmp_path) and within(tmp_path / "none.gguf") is None
    (tmp_path / "second.gguf").write_bytes(b"")
    with pytest.raises(HandloomError, match=r"holds 2 GGUF files \(model\.gguf, second\.gguf\)"):
        Weights(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert within(tmp_path) is None


# --- what is not to be believed ---------------------------------------------------------------------------------------

HUGE = struct.pack("<Q", 2**62)
LIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "its magic needs 4 bytes"),
    "another kind of file": (b"PK\3\4" + bytes(60), "it begins with b'PK"),
    "version 1": (gguf({}, {}, version=1), "of version 1; known are 2 and 3"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "it is big-endian"),
    "more tensors than a file can have": (gguf({}, {}, count=2**40), "claims 1099511627776 tensors"),
    "more keys than there are": (gguf({}, {}, keys=1)[:24], "a key at byte 24 needs 8 bytes"),
    "a key without an end": (gguf({}, {}, keys=1)[:24] + HUGE, "a key at byte 24 claims"),
    "a key that is no text": (gguf({}, {}, keys=1)[:24] + struct.pack("<Q", 2) + b"\xff\xfe", "is not UTF-8"),
    "a text without an end": (gguf({"a": struct.pack("<I", 8) + HUGE}, {}), "the value of 'a' claims"),
    "an endless array": (gguf({"a": struct.pack("<II", ARRAY, 4) + HUGE}, {}), "claims 4611686018427387904 items"),
    "an array longer than the file": (gguf({"a": struct.pack("<IIQ", ARRAY, 8, 2**20)}, {}), "it is truncated"),
    "an array of arrays": (gguf({"a": struct.pack("<IIQ", ARRAY, ARRAY, 0)}, {}), "has the type 9, which is not known"),
    "a type of metadata": (gguf({"a": struct.pack("<I", 77)}, {}), "'a' has the type 77"),
    "a key twice": (gguf({}, {}, keys=2)[:24] + 2 * (text("a") + struct.pack("<II", 4, 1)), "'a' occurs twice"),
    "alignment": (gguf({"general.alignment": 48}, {"a": ONES}), "general.alignment is 48; a power of two"),
    "a tensor twice": (gguf({}, {"a": ONES}, count=2, descriptions=2 * described("a", (3, 8), 0, 0)), "listed twice"),
    "five axes": (gguf({}, {"a": ONES}, descriptions=described("a", (1, 1, 1, 3, 8), 0, 0)), "has 5 axes"),
    "a vast tensor": (gguf({}, {"a": ONES}, descriptions=described("a", (2**40, 2**20), 0, 0)), "claims the sizes"),
    "a tensor beyond the end": (gguf({}, {"a": ONES}, descriptions=described("a", (2**20, 8), 0, 0)), "is truncated"),
    "an unknown type": (gguf({}, {"a": ONES}, descriptions=described("a", (3, 8), 99, 0)), "'a' is of type 99"),
    "half a block": (gguf({}, {"a": ONES}, descriptions=described("a", (3, 8), 2, 0)), "Q4_0 comes in blocks of 32"),
    "overlapping": (gguf({}, {"a": ONES}, count=2, descriptions=described("a", (3, 8), 0, 0)
                         + described("b", (1, 8), 0, 32)), "'b' overlaps the tensor before it"),
    "a hole": (gguf({}, {"a": ONES, "b": ONES}, descriptions=described("a", (3, 8), 0, 0)
                    + described("b", (1, 8), 0, 128)), "'b' leaves a hole before it"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_lies(lie: str, tmp_path: Path) -> None:
    content, message = LIES[lie]
    with pytest.raises(HandloomError, match=r"model\.gguf: not a sound GGUF file: .*") as caught:
        GgufFile(written(tmp_path, content))
    assert message in str(caught.value)


def test_cut_short_anywhere(tmp_path: Path) -> None:
    content = gguf({"a": 1, "b": ["x", "yy"], "c": "text", "d": np.arange(3, dtype=np.float32)},
                   {"a.weight": ONES, "b.weight": ONES[:, :5]})
    whole = GgufFile(written(tmp_path, content))
    assert whole.metadata["b"] == ["x", "yy"] and whole.metadata["d"].tolist() == [0, 1, 2]
    last = whole.entries["b.weight"].end
    for length in (*range(0, last, 3), last - 1):
        with pytest.raises(HandloomError, match="not a sound GGUF file"):
            GgufFile(written(tmp_path, content[:length], "short.gguf"))
    GgufFile(written(tmp_path, content[:last], "short.gguf"))


def test_any_wrong_byte_is_an_error_or_harmless(tmp_path: Path) -> None:
    content = gguf({**LLAMA, "tokenizer.ggml.tokens": ["a", "b"]}, {"token_embd.weight": ONES, "b.weight": ONES})
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        changed = bytearray(content)
        for place in rng.integers(0, len(content) - 2 * ONES.nbytes, 2):
            changed[place] = rng.integers(256)
        path = written(tmp_path, bytes(changed), "changed.gguf")
        try:
            load_config(path)
        except HandloomError:
            refused += 1
    assert refused > 80


# --- tokenizers -------------------------------------------------------------------------------------------------------

ALPHABET = ["<|end|>", "<think>", "Ġ", *"abcdehlorw1239", "Ġw", "he", "ll", "hell", "hello", "Ġwor", "or", "12", "Ċ"]
BYTES: dict[str, Any] = {
    "general.architecture": "gpt2", "gpt2.context_length": 64,
    "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": ALPHABET,
    "tokenizer.ggml.token_type": np.array([3, 4, *[1] * (len(ALPHABET) - 2)], np.int32),
    "tokenizer.ggml.merges": ["Ġ w", "h e", "l l", "he ll", "hell o", "o r", "Ġw or", "1 2"],
    "tokenizer.ggml.eos_token_id": 0, "tokenizer.chat_template": "{{ messages }}",
}  # fmt: skip
PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "h", "e", "l", "o", "w", "r", "ll",
          "he", "hell", "hello", "▁hello", "▁w", "or", "▁wor"]
SCORES = np.array([0.0] * 259 + [-20.0 - i for i in range(7)] + [-4, -3, -5, -6, -7, -8, -2, -9], np.float32)
SENTENCE_PIECE: dict[str, Any] = {
    "general.architecture": "llama", "llama.context_length": 64,
    "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": PIECES, "tokenizer.ggml.scores": SCORES,
    "tokenizer.ggml.token_type": np.array([2, 3, 3, *[6] * 256, *[1] * 15], np.int32),
    "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
}  # fmt: skip


def spelt(tokenizer: Tokenizer, value: str) -> list[str]:
    return [tokenizer.token(number) for number in tokenizer.encode(value).ids.tolist()]


def test_merges_of_bytes(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(written(tmp_path, gguf(BYTES, {})))
    assert spelt(tokenizer, "hello world") == ["hello", "Ġwor", "l", "d"]
    assert spelt(tokenizer, "hello<|end|><think>12") == ["hello", "<|end|>", "<think>", "1", "2"]
    assert tokenizer.max_length == 64
    tokenizer.save(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["chat_template"] == "{{ messages }}" and config["eos_token"] == "<|end|>"
    again = Tokenizer.load(tmp_path / "out")
    assert again.encode("hello<|end|>12").ids.tolist() == tokenizer.encode("hello<|end|>12").ids.tolist()
    whole = Tokenizer.load(written(tmp_path, gguf({**BYTES, "tokenizer.ggml.pre": "llama-bpe"}, {}), "whole.gguf"))
    assert spelt(whole, "hello 12") == ["hello", "Ġ", "12"]


def test_sentence_piece(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(written(tmp_path, gguf(SENTENCE_PIECE, {})))
    assert spelt(tokenizer, "hello wor") == ["<s>", "▁hello", "▁wor"]
    assert spelt(tokenizer, "hé") == ["<s>", "▁", "h", "<0xC3>", "<0xA9>"]
    assert tokenizer._tokenizer.decode(tokenizer.encode("hello wor é").ids.tolist()) == "hello wor é"
    bare = {**SENTENCE_PIECE, "tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": True,
            "tokenizer.ggml.add_space_prefix": False}
    assert spelt(Tokenizer.load(written(tmp_path, gguf(bare, {}), "b.gguf")), "hello") == ["hello", "</s>"]


@pytest.mark.parametrize(("base", "changes", "message"), [
    (BYTES, {"tokenizer.ggml.model": "t5"}, "tokenizer.ggml.model is 't5'; known are gpt2, llama"),
    (BYTES, {"tokenizer.ggml.pre": "viking"}, "'viking', a way to cut words that is not known"),
    (BYTES, {"tokenizer.ggml.tokens": ["a", "b", "a"]}, "the token 'a' is twice"),
    (BYTES, {"tokenizer.ggml.tokens": []}, "tokenizer.ggml.tokens is missing"),
    (BYTES, {"tokenizer.ggml.merges": ["h e", "q u"]}, "merge 1 of tokenizer.ggml.merges, 'q u', is not two tokens"),
    (BYTES, {"tokenizer.ggml.eos_token_id": 99}, "eos_token_id is 99, but there are"),
    (BYTES, {"tokenizer.ggml.token_type": np.ones(3, np.int32)}, "token_type must hold a number for each"),
    (SENTENCE_PIECE, {"tokenizer.ggml.scores": SCORES[:5]}, "scores must hold a number for each of 274 tokens"),
])
def test_tokenizers_that_lack_something(base: dict[str, Any], changes: dict[str, Any], message: str,
                                        tmp_path: Path) -> None:
    with pytest.raises(HandloomError) as caught:
        Tokenizer.load(written(tmp_path, gguf({**base, **changes}, {})))
    assert message in str(caught.value)
