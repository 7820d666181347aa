"""`handloom augment`: a file with more examples, which `train` reads; and `--augment` of a training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handloom.cli.main import main
from handloom.data.readers import read


def test_a_file_grows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "train.conll", tmp_path / "more.jsonl"
    file.write_text("Anna B-PER\nsmiles O\n\nMarie B-PER\nCurie I-PER\nlaughed O\n")
    assert main(["augment", str(file), "--how", "mention,typo", "--times", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert "augmentation by mention: 2 copies of 2 examples" in said and f"written to {out}" in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0] == {"tokens": ["Anna", "smiles"], "tags": ["B-PER", "O"]}
    assert {"tokens": ["Marie", "Curie", "smiles"], "tags": ["B-PER", "I-PER", "O"], "augmented_from": "Anna smiles",
            "augmentation": "mention"} in rows  # fmt: skip
    assert len(read(out, "token-classification")) == len(rows) > 5
    assert main(["augment", str(file), "--how", "typo", "--out", str(out)]) == 2
    assert "is there already; choose another --out, or replace it with --overwrite" in capsys.readouterr().err
    assert main(["augment", str(file), "--how", "infill", "--out", str(tmp_path / "x.jsonl")]) == 2
    assert "infill needs" in capsys.readouterr().err


def test_unknown_ways_are_refused_before_anything_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["augment", str(tmp_path / "no.csv"), "--how", "magic", "--out", str(tmp_path / "x.jsonl")]) == 2
    assert "there is no augmentation 'magic'; there are mention, typo" in capsys.readouterr().err
    assert main(["augment", str(tmp_path / "no.csv"), "--how", "typo", "--out", str(tmp_path / "x.csv")]) == 2
    assert "--out should end in .jsonl, not be x.csv" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_missed_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["augment", str(tmp_path / "no.csv"), "--how", "typo", "--out", str(tmp_path / "nodir/x.jsonl")]) == 1
    assert f"x.jsonl cannot be written: there is no folder {tmp_path / 'nodir'}" in capsys.readouterr().err


def test_nothing_is_written_where_no_copy_comes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "zh.jsonl", tmp_path / "more.jsonl"
    file.write_text('{"text": "很好看", "label": "a"}\n{"text": "不好看", "label": "b"}\n', "utf-8")
    assert main(["augment", str(file), "--how", "typo", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "zh.jsonl: no copy came of 2 examples: typo changes words of four Latin letters or more" in said
    assert "2 without anything to replace" in said and not out.exists()


def test_parallel_files_and_several_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    english, german, out = tmp_path / "x.en", tmp_path / "x.de", tmp_path / "more.jsonl"
    english.write_text("some words\nother words\n")
    german.write_text("Wörter\nandere\n", "utf-8")
    words = ["augment", "--how", "typo", "--out", str(out), "--overwrite"]
    assert main([*words, str(english), "--targets", str(german)]) == 0
    rows = read(out, "translation")
    assert [row.targets for row in rows] == [("Wörter",), ("andere",)] * 2 and rows[2].text not in ("some words", "")
    file = tmp_path / "several.csv"
    file.write_text("text,label\nsome words,a|b\nother words,b\n")
    assert main([*words, str(file), "--label-separator", "|"]) == 0
    assert [row.label for row in read(out)] == [("a", "b"), ("b",)] * 2
    assert main(["data", "check", str(english), "--targets", str(german)]) == 0
