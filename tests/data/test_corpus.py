"""Corpora: documents in pieces, what is wrong with a file, and the tokens of it on disk."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from handloom.data import corpus as reading
from handloom.data.corpus import Corpus
from handloom.data.permutation import key_of, permuted
from handloom.data.token_file import HeldOut, TokenFile, write
from handloom.errors import HandloomError, UsageError
from handloom.text.vocabularies import learn


def documents(corpus: Corpus) -> list[str]:
    found: list[str] = []
    for piece in corpus.pieces():
        found[len(found) - (not piece.first) :] = [("" if piece.first else found[-1]) + piece.text]
    return found


TEXT = "Ein Satz.\nNoch einer.\r\n\r\n\n第一章。\n第二章。\n"


@pytest.mark.parametrize(("how", "expected"), [
    ("file", [TEXT]),
    ("paragraphs", ["Ein Satz.\nNoch einer.", "第一章。\n第二章。"]),
    ("lines", ["Ein Satz.", "Noch einer.", "第一章。", "第二章。"]),
])  # fmt: skip
def test_documents_of_a_text(tmp_path: Path, how: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, packed = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    plain.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    packed.write_bytes(gzip.compress(TEXT.encode()))
    assert documents(Corpus([tmp_path], how)) == 2 * expected
    monkeypatch.setattr(reading, "_BLOCK", 5)  # characters and line ends are cut through
    assert documents(Corpus([plain, packed], how)) == 2 * expected


def test_pieces_are_bounded_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 64)
    monkeypatch.setattr(reading, "_BLOCK", 1000)
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("abc \n漢"), 5000, p=[0.3, 0.3, 0.2, 0.1, 0.02, 0.08])) + "x" * 1000
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    pieces = list(Corpus([tmp_path / "a.txt"]).pieces())
    assert "".join(piece.text for piece in pieces) == text
    assert max(len(piece.text) for piece in pieces) < 128
    assert [piece.first for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(piece.text[-1] in " \n" for piece in pieces[:40])


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": "one"}, "two", {"text": " "}, {"content": "three\nlines"}]
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    assert documents(Corpus([path])) == ["one", "two", "three\nlines"]
    summary = Corpus([path]).summary()
    assert (summary.documents, summary.size) == (3, 17)
    assert Corpus([path], "lines").summary().sha256 != summary.sha256


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.jsonl", b'{"text": "fine"}\n\n{"text": "cut', r"a\.jsonl:3: malformed JSON"),
    ("a.jsonl", b'{"text": "fine"}\n{"body": 3}', r"a\.jsonl:2: the text must be a string, not int"),
    ("a.jsonl", b'{"title": "fine"}', r"a\.jsonl:1: no column text or .*it has title; --text-column"),
    ("a.txt", b"one\ntwo\xff\n", r"a\.txt:2: byte 7 \(0xFF\) is not utf-8"),
    ("a.txt", b"one\n\xe6\xbc", r"a\.txt:2: byte 4"),
    ("a.txt", b" \n\t\n", r"a\.txt holds no text"),
    ("a.txt", b"", r"a\.txt holds no text"),
    ("a.csv", b"text\nx\n", r"a\.csv: pre-training reads plain text"),
    ("a.txt.gz", gzip.compress(b"some text " * 100, mtime=0)[:30], r"a\.txt\.gz: the gzip stream is broken"),
    ("a.txt.gz", b"not packed", r"a\.txt\.gz: the gzip stream is broken"),
])  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HandloomError, match=message):
        Corpus([tmp_path / name]).summary()


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match="does not exist"):
        Corpus([tmp_path / "none.txt"])
    with pytest.raises(HandloomError, match="holds no files that end in"):
        Corpus([tmp_path])
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="must be one of file, paragraphs, lines"):
        Corpus([tmp_path], "chapters")


def test_tokens_on_disk(tmp_path: Path) -> None:
    texts = [f"document {number} " * (number % 5 + 1) for number in range(60)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    corpus = Corpus([path])
    summary = corpus.summary()
    tokenizer = learn("character", texts, "gpt")
    held = HeldOut(0.1, 7, summary.documents, summary.size)
    write(tmp_path / "out", ("train", "valid"), held.parts(corpus.pieces()), tokenizer, end=tokenizer.sep)
    train, valid = (TokenFile(tmp_path / "out" / name) for name in ("train", "valid"))
    assert (train.about.documents, valid.about.documents) == (54, 6)
    assert train.about.size + valid.about.size == summary.size == len("".join(texts))
    assert len(train) + len(valid) == summary.size + 60
    spelled = []
    for file in (train, valid):
        for start, end in zip(file.starts[:-1], file.starts[1:], strict=True):
            assert file.tokens[end - 1] == tokenizer.sep
            spelled.append("".join(tokenizer.token(int(i)) for i in file.tokens[start : end - 1]))
    assert sorted(spelled) == sorted(texts)
    (tmp_path / "out" / "train" / "tokens.bin").write_bytes(b"12")
    with pytest.raises(HandloomError, match=r"tokens\.bin has 2 bytes"):
        TokenFile(tmp_path / "out" / "train")


@pytest.mark.parametrize("border", ["inside", "between"])
def test_the_last_part_of_one_document(tmp_path: Path, border: str) -> None:
    names = {"inside": ["漢" * 1000], "between": ["a" * 900, "b" * 100]}[border]
    for number, text in enumerate(names):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    corpus = Corpus([tmp_path])
    summary = corpus.summary()
    tokenizer = learn("character", names, "gpt")
    held = HeldOut(0.1, 0, summary.documents, summary.size)
    write(tmp_path / "out", ("train", "valid"), held.parts(corpus.pieces()), tokenizer)
    train, valid = (TokenFile(tmp_path / "out" / name) for name in ("train", "valid"))
    assert (len(train), len(valid)) == (900, 100)
    assert (train.about.documents, valid.about.documents) == (1, 1)
    if border == "between":
        assert set(valid.tokens.tolist()) == {tokenizer.token_id("b")}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 1000, 4097])
def test_a_permutation_is_one(count: int) -> None:
    found = permuted(np.arange(count), count, key_of(3, 1))
    assert sorted(found.tolist()) == list(range(count))
    some = np.array([[count - 1, 0]])
    assert permuted(some, count, key_of(3, 1)).tolist() == [[found[-1], found[0]]]


def test_permutations_look_random() -> None:
    count, keys = 50, range(2000)
    places = np.stack([permuted(np.arange(count), count, key_of(0, key)) for key in keys])
    times = np.stack([np.bincount(places[:, place], minlength=count) for place in range(count)])
    expected = len(keys) / count
    assert ((times - expected) ** 2 / expected).sum() < 2600  # 49² = 2,401 degrees of freedom, deviation 69
    neighbours = (np.diff(places, axis=1) == 1).mean()
    assert abs(neighbours - 1 / count) < 0.003
    assert permuted(np.array([10**15]), 10**18, 5)[0] != permuted(np.array([10**15]), 10**18, 6)[0]
    with pytest.raises(HandloomError, match="places 0 to 3 of a permutation of 3"):
        permuted(np.arange(4), 3, 0)
