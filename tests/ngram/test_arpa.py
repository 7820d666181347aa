"""ARPA files: there and back, others' forms of them, and what is broken."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handloom import HandloomError, NgramModel, UsageError
from handloom.ngram import arpa_reader, arpa_writer

OTHERS = """some words of the program that made it

\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-99\t<s>\t-0.5
-1.0\t</s>
-0.7\ta\t-0.25
-0.8\tb\t-0.125
-1.2\t<unk>

\\2-grams:
-0.4\ta b\t-0.0625
-0.3\t<s> a\t0.0
-0.2\tb </s>

\\3-grams:
-0.1\t<s> a b

\\end\\
"""


def same(one: NgramModel, other: NgramModel) -> bool:
    return one.vocabulary == other.vocabulary and all(
        (a.keys == b.keys).all() and (a.log10 == b.log10).all() and (a.backoff == b.backoff).all()
        for a, b in zip(one.levels, other.levels, strict=True)
    )


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
@pytest.mark.parametrize("settings", [{}, {"order": 1}, {"order": 2, "prune": [1]}, {"method": "stupid-backoff"}])
def test_there_and_back_with_the_same_bits(
    lines: list[str], tmp_path: Path, name: str, settings: dict[str, object]
) -> None:
    model = NgramModel.train([*lines, "中文 naïve 😀"], **settings)  # type: ignore[arg-type]
    model.save(tmp_path / name)
    back = NgramModel.load(tmp_path / name)
    assert same(model, back) and (back.method, back.constant, back.unseen) == (
        model.method,
        model.constant,
        model.unseen,
    )
    assert (back.scores(["the cat", "x"]).log10 == model.scores(["the cat", "x"]).log10).all()
    before = (tmp_path / name).read_bytes()
    back.save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_characters_are_remembered(tmp_path: Path) -> None:
    model = NgramModel.train(["我 爱 你", "a b"], 3, unit="characters")
    model.save(tmp_path / "lm.arpa")
    back = NgramModel.load(tmp_path / "lm.arpa")
    assert back.unit == "characters" and same(model, back)
    assert NgramModel.load(tmp_path / "lm.arpa", unit="words").unit == "words"
    NgramModel.train(["我"], 2).save(tmp_path / "plain.arpa")
    assert (tmp_path / "plain.arpa").read_text(encoding="utf-8").startswith("\n\\data\\\nngram 1=4\nngram 2=2\n")
    assert NgramModel.load(tmp_path / "plain.arpa", unit="characters").unit == "characters"


def test_many_lines_are_put_together_in_parts(
    lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = NgramModel.train(lines, 4)
    model.save(tmp_path / "a")
    for size in (1, 7, 64):
        monkeypatch.setattr(arpa_writer, "LINES", size)
        monkeypatch.setattr("handloom.ngram.files.BLOCK", size)
        model.save(tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        assert same(NgramModel.load(tmp_path / "a"), model)


def read(tmp_path: Path, text: str | bytes) -> NgramModel:
    file = tmp_path / "other.arpa"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return NgramModel.load(file)


FORMS = {
    "as it is": OTHERS,
    "line ends of Windows": OTHERS.replace("\n", "\r\n"),
    "blanks for tabs": OTHERS.replace("\t", "  "),
    "every back-off written": re.sub(r"(\t(?:</s>|<unk>|b </s>))\n", r"\1\t0\n", OTHERS),
    "blank lines between": OTHERS.replace("\n\\", "\n\n \n\\"),
    "in another order": OTHERS.replace(
        "-0.4\ta b\t-0.0625\n-0.3\t<s> a\t0.0\n", "-0.3\t<s> a\t0.0\n-0.4\ta b\t-0.0625\n"
    ),
    "exponents": OTHERS.replace("-0.0625", "-6.25e-2"),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_others_write(tmp_path: Path, form: str) -> None:
    model = read(tmp_path, FORMS[form])
    assert model.vocabulary == ["<unk>", "<s>", "</s>", "a", "b"] and model.order == 3
    # <s> a; <s> a b; b </s> after "a b" is not there, so that the weight of "a b" comes first
    assert model.scores(["a b"]).log10 == pytest.approx([-0.3, -0.1, -0.0625 - 0.2])
    assert model.scores(["a b"]).order.tolist() == [2, 3, 2]
    assert model.scores(["b x a"]).log10 == pytest.approx([-0.5 - 0.8, -0.125 - 1.2, -0.7, -0.25 - 1.0])


def test_without_an_unknown_word_it_is_all_but_impossible(tmp_path: Path) -> None:
    model = read(tmp_path, OTHERS.replace("-1.2\t<unk>\n", "").replace("1=5", "1=4"))
    assert model.scores(["x"]).log10[0] == pytest.approx(-0.5 - 100)


BROKEN = {
    "empty": ("", "is empty"),
    "another file": ("a b c\n" * 5, "no line \\data\\ in its first 5"),
    "no counts": (
        OTHERS.replace("ngram 1=5\nngram 2=3\nngram 3=1\n", ""),
        ":4: the file says that it holds no 1-grams",
    ),
    "no such count": (OTHERS.replace("ngram 2=3", "ngram 2=many"), ":5: 'ngram 2=' and a count was expected"),
    "orders not in order": (OTHERS.replace("ngram 2=3", "ngram 3=3"), ":5: 'ngram 2=' and a count was expected"),
    "a lie about sizes": (OTHERS.replace("ngram 3=1", "ngram 3=99999999999999"), "cannot hold them"),
    "too few": (OTHERS.replace("ngram 2=3", "ngram 2=4"), ":19: a line of the 4 2-grams was expected here, not ''"),
    "too many": (OTHERS.replace("ngram 2=3", "ngram 2=2"), ":18: \\3-grams: was expected here, not '-0.2\\tb </s>'"),
    "a section is missing": (OTHERS.replace("\\2-grams:", "\\3-grams:"), ":15: \\2-grams: was expected here"),
    "no number": (OTHERS.replace("-0.7\ta", "x\ta"), ":11: not a number, 1 words and perhaps a number"),
    "not finite": (OTHERS.replace("-0.7\ta", "nan\ta"), ":11: nan cannot be the log10 of the probability"),
    "above one": (OTHERS.replace("-0.7\ta", "0.7\ta"), ":11: 0.7 cannot be the log10 of the probability"),
    "an infinite weight": (OTHERS.replace("-0.25", "inf"), ":11: inf cannot be the back-off weight"),
    "a word too many": (OTHERS.replace("a b\t-0.0625", "a b a\t-0.0625"), ":16: not a number, 2 words"),
    "a word too few": (OTHERS.replace("-0.1\t<s> a b", "-0.1\t<s> a"), ":21: not a number, 3 words"),
    "an unknown word": (OTHERS.replace("-0.4\ta b", "-0.4\ta z"), ":16: the word 'z' is not among the 1-grams"),
    "twice": (OTHERS.replace("-0.2\tb </s>", "-0.2\ta b"), ":18: 'a b' stands here for the second time"),
    "a word twice": (OTHERS.replace("-0.8\tb", "-0.8\ta"), "a word stands twice among the 5 1-grams"),
    "no context": (
        OTHERS.replace("-0.1\t<s> a b", "-0.1\tb b a"),
        ":21: 'b b a' is here, but its first 2 words are not",
    ),
    "no start": (OTHERS.replace("-99\t<s>", "-99\tc").replace("<s> a", "a a"), "<s> is not among the 1-grams"),
    "not UTF-8": (OTHERS.encode().replace(b"-0.7\ta", b"-0.7\t\xe9"), ":11: byte 5 of the line is not UTF-8"),
    "no end": (OTHERS.replace("\\end\\\n", ""), "\\end\\ was expected here, not the end of the file"),
    "more after the end": (OTHERS + "more\n", ":24: the file goes on after \\end\\"),
    "cut short": (OTHERS[: OTHERS.index("a b\t")], "2-grams are missing: the file ends here"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files(tmp_path: Path, kind: str) -> None:
    text, said = BROKEN[kind]
    with pytest.raises(HandloomError, match=re.escape(said)) as caught:
        read(tmp_path, text)
    assert "other.arpa" in str(caught.value)


def test_every_file_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    for end in range(len(OTHERS) - 6):
        with pytest.raises(HandloomError):
            read(tmp_path, OTHERS[:end])
    packed = gzip.compress(OTHERS.encode(), mtime=0)
    for end in range(1, len(packed)):
        with pytest.raises(HandloomError):
            read(tmp_path, packed[:end])


@given(st.integers(0, len(OTHERS) - 1), st.binary(min_size=0, max_size=4))
def test_whatever_is_overwritten_there_is_an_error_or_a_model(
    tmp_path_factory: pytest.TempPathFactory, at: int, new: bytes
) -> None:
    content = OTHERS.encode()
    try:
        model = read(tmp_path_factory.mktemp("x"), content[:at] + new + content[at + len(new) + 1 :])
    except (HandloomError, UsageError):
        return
    assert model.scores(["a b"]).log10.shape == (3,)


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arpa_reader, "LONGEST_LINE", 100)
    monkeypatch.setattr("handloom.ngram.files.BLOCK", 16)
    with pytest.raises(HandloomError, match=":11: a line of more than 100 bytes"):
        read(tmp_path, OTHERS.replace("-0.7\ta", "-0.7\t" + "a" * 1000))


def test_nothing_is_written_where_something_goes_wrong(
    lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = NgramModel.train(lines)
    file = tmp_path / "lm.arpa.gz"
    file.write_bytes(b"as it was")

    def interrupted(*_: object) -> object:
        yield b"\n\\data\\\n"
        raise KeyboardInterrupt

    monkeypatch.setattr(arpa_writer, "blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save(file)
    assert file.read_bytes() == b"as it was" and [one.name for one in tmp_path.iterdir()] == ["lm.arpa.gz"]
    with pytest.raises(HandloomError, match="there is no folder"):
        model.save(tmp_path / "none" / "lm.arpa")
    with pytest.raises(UsageError, match="an add-k model cannot be written"):
        NgramModel.train(lines, method="add-k").save(tmp_path / "k.arpa")
