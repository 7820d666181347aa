"""What tests share: where data and weights lie, and tokenizers small enough to be built on the spot."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from handloom.text.tokenizer import Tokenizer

# Deadlines would fail on a busy machine for no fault of the code; the same examples on every run.
settings.register_profile(
    "handloom", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("handloom")

# Numbers in the tests are f32's; those of bf16 ask for it.
os.environ["HANDLOOM_PRECISION"] = "f32"

ROOT = Path(__file__).parent.parent

WORDS = "the a cat dog paris in lives curie marie un ##aff ##able play ##ing card 我 爱 北 京 天 hello world ! . , '"
CORPUS = ["the cat lives in Paris", "the dog is playing in the park", "Marie Curie worked in Paris.", "hello world"] * 4


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data: HANDLOOM_DATA, else `../shared/data` beside the repository."""
    folder = Path(os.environ.get("HANDLOOM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data: {folder} does not exist; set HANDLOOM_DATA")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of MiniLM-L6's weights and tokenizer: HANDLOOM_MINILM."""
    named = os.environ.get("HANDLOOM_MINILM")
    if not named:
        pytest.skip("no MiniLM-L6: set HANDLOOM_MINILM to its folder")
    folder = Path(named)
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"no MiniLM-L6: {folder} holds no model.safetensors")
    return folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT tokenizer as a vocab.txt: some words, every ASCII letter and digit."""
    folder = tmp_path_factory.mktemp("bert")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), *letters, *(f"##{one}" for one in letters)]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 512}')
    return folder


@pytest.fixture(scope="session")
def roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa tokenizer as vocab.json and merges.txt, trained on four sentences."""
    import tokenizers

    folder = tmp_path_factory.mktemp("roberta")
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=sorted(alphabet), special_tokens=special, show_progress=False
    )
    trained.train_from_iterator(CORPUS, trainer)
    state = json.loads(trained.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(state["vocab"]), encoding="utf-8")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def bert(bert_folder: Path) -> Tokenizer:
    return Tokenizer.load(bert_folder)


@pytest.fixture(scope="session")
def roberta(roberta_folder: Path) -> Tokenizer:
    return Tokenizer.load(roberta_folder)
