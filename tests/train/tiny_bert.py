"""A BERT of 2 layers with a tokenizer for a handful of words, and toy data that it can learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from handloom.train.storage import publish_file, safetensors_blocks

GOOD, BAD = ["good", "great", "fine", "lovely"], ["bad", "poor", "awful", "sad"]
NAMES, PLACES = ["anna", "marie curie", "bob"], ["paris", "rome", "new york"]
OTHER = ["the", "film", "was", "a", "very", "book", "and", "in", "lives", "works", "with", "meets", ".", "##s", "is"]
HIDDEN, LAYERS, INNER, POSITIONS = 32, 2, 64, 64


def vocabulary() -> list[str]:
    words = [w for group in (GOOD, BAD, NAMES, PLACES) for phrase in group for w in phrase.split()] + OTHER
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)]


def write(folder: Path, seed: int = 0, layers: int = LAYERS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {word: i for i, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {f"{r}_token": f"[{r.upper()}]" for r in ("pad", "unk", "cls", "sep", "mask")}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizerFast", **special}))
    (folder / "config.json").write_text(json.dumps({
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": len(vocab), "hidden_size": HIDDEN,
        "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": INNER, "hidden_act": "gelu",
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
    }))  # fmt: skip
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.1).astype(np.float32)

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}.weight": np.ones(HIDDEN, np.float32), f"{name}.bias": np.zeros(HIDDEN, np.float32)}

    def dense(name: str, out: int, into: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": normal(out, into), f"{name}.bias": np.zeros(out, np.float32)}

    weights = {
        "embeddings.word_embeddings.weight": normal(len(vocab), HIDDEN),
        "embeddings.position_embeddings.weight": normal(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": normal(2, HIDDEN),
        **norm("embeddings.LayerNorm"),
    }
    for layer in range(layers):
        at = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            weights |= dense(f"{at}.attention.self.{part}", HIDDEN, HIDDEN)
        weights |= dense(f"{at}.attention.output.dense", HIDDEN, HIDDEN) | norm(f"{at}.attention.output.LayerNorm")
        weights |= dense(f"{at}.intermediate.dense", INNER, HIDDEN)
        weights |= dense(f"{at}.output.dense", HIDDEN, INNER) | norm(f"{at}.output.LayerNorm")
    weights |= dense("pooler.dense", HIDDEN, HIDDEN)
    publish_file(folder / "model.safetensors", safetensors_blocks(weights, {"format": "pt"}))
    return folder


def opinions(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentences whose label is decided by one word; all different."""
    rng = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        good = bool(rng.integers(2))
        filler = [OTHER[i] for i in rng.integers(0, 6, int(rng.integers(2, 6)))]
        filler.insert(int(rng.integers(len(filler) + 1)), str(rng.choice(GOOD if good else BAD)))
        found[" ".join(filler)] = "pos" if good else "neg"
    return list(found.items())


def tagged(count: int, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """Sentences with persons and places, BIO; all different."""
    rng = np.random.default_rng(seed)
    found: dict[str, tuple[list[str], list[str]]] = {}
    while len(found) < count:
        words: list[str] = []
        tags: list[str] = []
        for _ in range(int(rng.integers(1, 4))):
            for phrases, kind in ((NAMES, "PER"), (PLACES, "LOC")):
                if rng.integers(3):
                    parts = str(rng.choice(phrases)).split()
                    words += parts
                    tags += [f"B-{kind}"] + [f"I-{kind}"] * (len(parts) - 1)
                filler = str(rng.choice(OTHER[6:12]))
                words.append(filler)
                tags.append("O")
        found[" ".join(words)] = (words, tags)
    return list(found.values())
