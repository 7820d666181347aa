"""Words for masks: their order, their places in the text, what is refused; and beside transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from handloom import FillMask, HandloomError, UsageError
from handloom.cli.main import main
from handloom.models.safetensors_file import SafetensorsFile, write_safetensors

TEXT = "北京是[MASK]国的首都。"


def test_candidates_stand_in_the_masks_place(chinese: Path) -> None:
    filler = FillMask.from_pretrained(chinese, precision="f32")
    assert filler.mask == "[MASK]"
    [candidates] = filler.predict(TEXT, top=40)
    assert len(candidates) == 26 and abs(sum(one.score for one in candidates) - 1) < 1e-5
    assert [one.score for one in candidates] == sorted((one.score for one in candidates), reverse=True)
    words = {one.word: one.text for one in candidates}
    assert words["中"] == "北京是中国的首都。" and words["cat"] == "北京是cat国的首都。"
    pieces = filler.predict("小 猫 [MASK] 在", top=40)[0]
    assert {one.word: one.text for one in pieces}["s"] == "小 猫s 在"  # a piece goes on with the word before it
    assert filler.predict(TEXT, top=2)[0] == candidates[:2]


def test_a_text_alone_is_as_among_others(chinese: Path) -> None:
    filler = FillMask.from_pretrained(chinese, precision="f32")
    texts = [TEXT, "我[MASK]北[MASK]", "[MASK]"]
    together = filler.predict(texts)
    assert [len(masks) for masks in together] == [1, 2, 1]
    assert together == [filler.predict(text) for text in texts]
    assert filler.predict([]) == []


def test_what_is_refused(chinese: Path, tmp_path: Path) -> None:
    filler = FillMask.from_pretrained(chinese)
    with pytest.raises(HandloomError, match=r"text 2 has no mask: write \[MASK\]"):
        filler.predict([TEXT, "我爱北京"])
    with pytest.raises(HandloomError, match="text 1 has 42 tokens; the model takes 32 at most"):
        filler.predict("[MASK]" * 40)
    with pytest.raises(UsageError, match="top must be at least 1, not 0"):
        filler.predict(TEXT, top=0)
    bare = shutil.copytree(chinese, tmp_path / "bare")
    config = json.loads((bare / "config.json").read_text())
    (bare / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    with pytest.raises(HandloomError, match="tie_word_embeddings must be true for fill-mask"):
        FillMask.from_pretrained(bare)
    (bare / "config.json").write_text(json.dumps(config))
    stored = SafetensorsFile(chinese / "model.safetensors")
    write_safetensors(bare / "model.safetensors", {n: stored.read(n) for n in stored.entries if n[:4] != "cls."})
    with pytest.raises(HandloomError, match=r"holds no head for fill-mask: cls\.predictions\.bias"):
        FillMask.from_pretrained(bare)


def test_the_command(chinese: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fill-mask", str(chinese), TEXT, "我[MASK]北[MASK]", "--top", "3"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == TEXT and shown[4] == "我[MASK]北[MASK]  (mask 1)" and len(shown) == 12
    assert main(["fill-mask", str(chinese), TEXT, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == TEXT and len(found["masks"][0]) == 5
    assert set(found["masks"][0][0]) == {"word", "score", "id", "text"}
    assert main(["fill-mask", str(chinese), "我爱"]) == 1
    assert "write [MASK] where a word is to be guessed" in capsys.readouterr().err


@pytest.mark.parity
def test_as_transformers_guesses(chinese: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from handloom.text.tokenizer import Tokenizer

    folder = shutil.copytree(chinese, tmp_path / "model")
    Tokenizer.load(chinese).save(folder)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    filler = FillMask.from_pretrained(folder, precision="f32")
    for text in (TEXT, "[MASK]猫在家", "我爱 [MASK] ！"):
        given = tokenizer(text, return_tensors="pt")
        [place] = (given["input_ids"][0] == tokenizer.mask_token_id).nonzero()[0].tolist()
        with torch.no_grad():
            shares = theirs(**given).logits[0, place].softmax(-1)
        ours = filler.predict(text, top=5)[0]
        assert [one.id for one in ours] == shares.topk(5).indices.tolist()
        for one in ours:
            assert one.score == pytest.approx(float(shares[one.id]), rel=1e-4)
