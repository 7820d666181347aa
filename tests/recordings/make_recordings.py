"""Makes the recordings beside this file: tiny models, and what transformers computes with them.

    python tests/recordings/make_recordings.py            (needs the extra `parity`)

For each architecture and head a folder in Hugging Face's form (config.json, model.safetensors) and
`recording.safetensors`: a packed batch, its labels, and the logits, loss and every parameter's gradient, computed in
f64, stored as f32. The versions that made a recording are in its metadata. The live parity tests import this file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
LENGTHS = (7, 2, 11, 5)
LABELS = 3
VOCABULARY, HIDDEN, LAYERS, HEADS, INNER, POSITIONS = 80, 24, 2, 3, 48, 40
PAD = 1

SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
             "intermediate_size": INNER, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
             "layer_norm_eps": 1e-12, "pad_token_id": 0},
    "distilbert": {"dim": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": INNER,
                   "max_position_embeddings": POSITIONS, "pad_token_id": 0},
    "roberta": {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
                "intermediate_size": INNER, "max_position_embeddings": POSITIONS, "type_vocab_size": 1,
                "layer_norm_eps": 1e-5, "pad_token_id": PAD, "bos_token_id": 0, "eos_token_id": 2},
}
TASKS = ("text-classification", "token-classification")


def build(model_type: str, task: str) -> Any:
    """A transformers model with random weights, biases and norms included, in evaluation mode."""
    import torch
    import transformers

    auto = {"text-classification": transformers.AutoModelForSequenceClassification,
            "token-classification": transformers.AutoModelForTokenClassification}[task]
    config = transformers.AutoConfig.for_model(
        model_type, vocab_size=VOCABULARY, id2label={0: "red", 1: "green", 2: "blue"},
        label2id={"red": 0, "green": 1, "blue": 2}, **SIZES[model_type])
    torch.manual_seed(sorted(SIZES).index(model_type) * 2 + TASKS.index(task))
    model = auto.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(centre + 0.2 * torch.randn_like(parameter))
    return model


def packed_batch(model_type: str, task: str) -> dict[str, np.ndarray]:
    """ids, positions, types, starts and labels of four sequences, as Handloom's models take them."""
    rng = np.random.default_rng(7)
    total = sum(LENGTHS)
    types = np.concatenate([np.arange(length) >= length // 2 for length in LENGTHS]).astype(np.int32)
    count = total if task == "token-classification" else len(LENGTHS)
    labels = rng.integers(0, LABELS, count).astype(np.int32)
    if task == "token-classification":
        labels[rng.random(count) < 0.3] = -100
    return {
        "ids": rng.integers(3, VOCABULARY, total).astype(np.int32),
        "positions": np.concatenate([np.arange(length) for length in LENGTHS]).astype(np.int32),
        "types": types if model_type == "bert" else np.zeros(total, np.int32),
        "starts": np.cumsum([0, *LENGTHS]).astype(np.int32),
        "labels": labels,
    }


def run_transformers(model: Any, batch: dict[str, np.ndarray], task: str) -> dict[str, np.ndarray]:
    """logits (packed), loss and `gradient.NAME` of every parameter that has one, computed in f64 with padding."""
    import torch

    model = model.double()
    starts = batch["starts"]
    lengths = np.diff(starts)
    inside = np.arange(lengths.max())[None, :] < lengths[:, None]  # [S, longest]

    def padded(values: np.ndarray, filler: int) -> Any:
        out = np.full(inside.shape, filler, np.int64)
        out[inside] = values
        return torch.from_numpy(out)

    tokens = task == "token-classification"
    arguments = {
        "input_ids": padded(batch["ids"], model.config.pad_token_id),
        "attention_mask": padded(np.ones(starts[-1], np.int64), 0),
        "labels": padded(batch["labels"], -100) if tokens else torch.from_numpy(batch["labels"].astype(np.int64)),
    }
    if model.config.model_type == "bert":
        arguments["token_type_ids"] = padded(batch["types"], 0)
    model.zero_grad()
    result = model(**arguments)
    result.loss.backward()
    logits = result.logits.detach().numpy()
    out = {"logits": logits[inside] if tokens else logits, "loss": result.loss.detach().numpy()}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            out[f"gradient.{name}"] = parameter.grad.numpy()
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in out.items()}


def main() -> None:
    import safetensors
    import torch
    import transformers
    from safetensors.numpy import save_file

    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__,
                "safetensors": safetensors.__version__}
    for model_type in SIZES:
        for task in TASKS:
            folder = HERE / f"{model_type}-{task}"
            folder.mkdir(exist_ok=True)
            model = build(model_type, task)
            model.save_pretrained(folder)
            batch = packed_batch(model_type, task)
            save_file({**batch, **run_transformers(model, batch, task)}, folder / "recording.safetensors",
                      metadata={"versions": json.dumps(versions)})
            print(folder.name, sorted(path.name for path in folder.iterdir()))


if __name__ == "__main__":
    main()
