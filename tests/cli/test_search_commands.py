"""Sentence similarity and search in the terminal, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handloom.cli.main import main


def test_from_pairs_to_a_search(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (work / "train.csv").read_text(encoding="utf-8").splitlines()[1:40]
    pairs = tmp_path / "faq.csv"
    texts = [row.rpartition(",")[0] for row in rows]
    pairs.write_text("question,answer\n" + "".join(f"{t},{t.split()[-1]} {i % 5}\n" for i, t in enumerate(texts)))
    run = str(tmp_path / "faq")
    command = ["train", "sentence-similarity", "--model", "minilm-l6", "--train", str(pairs), "--valid", str(pairs)]
    assert main([*command, "--out", run, "--epochs", "1", "--symmetric", "--pooling", "mean", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"mrr@10", "ndcg@10", "recall@1", "loss"} <= set(found["metrics"]) and "BM25" in found["baselines"]

    assert main(["evaluate", run, "--data", str(pairs)]) == 0
    assert "recall@10" in capsys.readouterr().out
    assert main(["predict", run, "--data", str(pairs), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(texts) and set(lines[0]) == {"text", "pair", "score"}
    assert main(["predict", run, "--data", str(pairs)]) == 0
    assert capsys.readouterr().out.count(" ⏐ ") == len(texts)
    assert main(["predict", run, "one text"]) == 2
    assert "two texts are compared" in capsys.readouterr().err

    place = str(tmp_path / "index")
    assert main(["index", str(pairs), "--text-column", "answer", "--model", run, "--out", place]) == 0
    again = ["index", str(pairs), "--text-column", "answer", "--model", run, "--out", place]
    capsys.readouterr()
    assert main(again) == 2
    assert "index is there already; choose another --out, or replace it with --overwrite" in capsys.readouterr().err
    assert main([*again, "--overwrite"]) == 0
    capsys.readouterr()
    assert main(["search", place, texts[0], texts[1], "--top", "2", "--json"]) == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [hit["query"] for hit in hits] == [texts[0]] * 2 + [texts[1]] * 2
    assert hits[0]["score"] >= hits[1]["score"] and set(hits[0]["extra"]) == {"question"}
    assert main(["search", place, texts[0], "--top", "1"]) == 0
    assert capsys.readouterr().out.endswith(hits[0]["text"] + "\n")
    assert main(["search", place, texts[0], "--model", "minilm-l6"]) == 1
    assert "was made by another model" in capsys.readouterr().err
    assert main(["index", str(pairs), "--model", run, "--out", str(tmp_path)]) == 2
    assert "is no index; choose another --out" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "bad"), "--score-range", "0-5"]) == 2
    assert "write two numbers, such as 0,5" in capsys.readouterr().err
