"""Readers: every form in which people keep labelled data, and what is said when it is wrong."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handloom.data.examples import TEXT, TOKEN, Dataset, TextExample, TokenExample
from handloom.data.readers import KINDS, read
from handloom.errors import HandloomError, UsageError
from handloom.text.spans import Span


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def pairs(dataset: Dataset[Any]) -> list[tuple[str, str | None]]:
    return [(example.text, example.label) for example in dataset]


GOOD = [("good, really", "pos"), ('a "quoted"\nline', "neg"), ("天气很好", "pos")]

same_rows = [
    ("x.csv", 'text,label\n"good, really",pos\n"a ""quoted""\nline",neg\n天气很好,pos\n'),
    ("x.csv", '\ufefflabel;id;review\r\npos;1;good, really\r\nneg;2;"a ""quoted""\nline"\r\npos;3;天气很好\r\n'),
    ("x.tsv", 'text\tlabel\ngood, really\tpos\n"a ""quoted""\nline"\tneg\n天气很好\tpos\n'),
    ("x.data", '文本|标签\ngood, really|pos\n"a ""quoted""\nline"|neg\n天气很好|pos\n'),
    ("x.jsonl", "\n".join(json.dumps({"text": t, "label": y}, ensure_ascii=False) for t, y in GOOD)),
    ("x.json", json.dumps([{"sentence": t, "intent": y, "id": 1} for t, y in GOOD], indent=1)),
    ("x.json", json.dumps({"version": 1, "data": [{"text": t, "label": y} for t, y in GOOD]}, indent=2)),
    ("x.txt", "\ufeff" + "\n".join(json.dumps({"text": t, "label": y}) for t, y in GOOD)),
]


@pytest.mark.parametrize(("name", "content"), same_rows)
def test_forms_of_the_same_rows(name: str, content: str, tmp_path: Path) -> None:
    dataset = read(write(tmp_path, name, content))
    assert pairs(dataset) == GOOD
    assert dataset.labels == ["neg", "pos"]
    assert len(dataset.source.sha256) == 64 and dataset.source.path == str(tmp_path / name)


@pytest.mark.parametrize(
    "rows",
    [
        GOOD,
        [list(row) for row in GOOD],
        ({"text": text, "category": label} for text, label in GOOD),
        [TextExample(text, None, label) for text, label in GOOD],
    ],
)
def test_rows_in_memory(rows: Any) -> None:
    dataset = read(rows)
    assert pairs(dataset) == GOOD
    assert read(dataset) is dataset


def test_other_columns_travel_along_and_notes_say_what_was_guessed(tmp_path: Path) -> None:
    dataset = read(write(tmp_path, "x.csv", "id,Review,Stars\n7,fine,5\n8,bad,1\n"))
    assert dataset[0] == TextExample("fine", None, "5", {"id": "7"}, f"{tmp_path}/x.csv:2")
    assert dataset.notes == (
        "separated by commas",
        "text: column 'Review' (guessed)",
        "label: column 'Stars' (guessed)",
    )
    assert dataset.columns == {"text": "Review", "label": "Stars"}
    named = read(tmp_path / "x.csv", text_column="stars", label_column="2")
    assert pairs(named) == [("5", "fine"), ("1", "bad")]


def test_labels_that_look_like_several_are_told() -> None:
    assert "labels such as 'a|b' are taken as they are" in read([("x", "a|b"), ("y", "a"), ("z", "b")]).notes[-1]
    assert not any("taken as they are" in note for note in read([("x", "a|c"), ("y", "a"), ("z", "b")]).notes)
    assert read([("x", "a|b"), ("y", "a"), ("z", "b")], problem="several")[0].label == ("a", "b")


def test_pairs() -> None:
    rows = [{"premise": "a", "hypothesis": "b", "label": 1.0}, {"premise": "c", "hypothesis": "d", "label": 0}]
    assert [(e.text, e.pair, e.label) for e in read(rows)] == [("a", "b", "1"), ("c", "d", "0")]
    assert read([("a", "b", "yes")])[0].pair == "b"
    rows = [{"text": "a", "other": "b", "label": "x"}]
    assert read(rows, pair_column="other")[0].pair == "b"
    rows = [{"text": "a", "pair": "b"}]
    assert read(rows, labelled=False)[0].pair == "b"
    (alone,) = read(rows, labelled=False, pairs=False)
    assert (alone.pair, alone.extra) == (None, {"pair": "b"})
    assert read(rows, labelled=False, pairs=False, pair_column="pair")[0].pair == "b"
    assert read([("a", "b")], labelled=False, pairs=False)[0].pair == "b"


def test_without_labels(tmp_path: Path) -> None:
    assert read(["one", "two"], labelled=False).texts == ["one", "two"]
    path = write(tmp_path, "x.txt", "one, and\ntwo\r\n\n")
    assert read(path, labelled=False).texts == ["one, and", "two"]
    path = write(tmp_path, "x.csv", "text,label,id\none,,4\n")
    assert read(path, labelled=False)[0].extra == {"label": "", "id": "4"}
    tokens = read(["Marie Curie"], TOKEN, labelled=False)
    assert (tokens[0].text, tokens[0].words, tokens[0].spans) == ("Marie Curie", None, None)


def test_a_table_without_a_header(tmp_path: Path) -> None:
    dataset = read(write(tmp_path, "x.csv", "nice film,1\ndull film,0\ngreat,1\n"), text_column=1, label_column=2)
    assert pairs(dataset) == [("nice film", "1"), ("dull film", "0"), ("great", "1")]
    assert "no header; columns are called by their numbers" in dataset.notes


def test_numbers_read_as_texts_are_noted(tmp_path: Path) -> None:
    dataset = read(write(tmp_path, "x.jsonl", '{"text": "a b", "label": "x"}\n{"text": 2.50, "label": "y"}\n'))
    assert pairs(dataset) == [("a b", "x"), ("2.5", "y")]
    assert dataset.notes[-1].endswith(f"column 'text' is a number or the like, and is read as a text, such as '2.5' "
                                      f"({tmp_path / 'x.jsonl'}:2)")  # fmt: skip
    assert "1 of 2 values" in dataset.notes[-1]
    assert not any("number" in note for note in read([("2.5", "y")]).notes)


def test_quotes_in_tab_separated_text_are_text(tmp_path: Path) -> None:
    dataset = read(write(tmp_path, "x.tsv", 'text\tlabel\n"so called\tpos\n12" long\tneg\n'))
    assert pairs(dataset) == [('"so called', "pos"), ('12" long', "neg")]


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).filter(
            lambda text: bool(text.strip())), st.sampled_from(["a", "b,c", 'd"e'])),
        min_size=1, max_size=6,
    ),
    st.sampled_from([",", ";", "\t", "|"]),
)  # fmt: skip
def test_any_text_survives_csv_and_json(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    assert pairs(read(write(folder, "x.csv", buffer.getvalue()), delimiter=delimiter)) == rows
    lines = "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows)
    assert pairs(read(write(folder, "x.jsonl", lines))) == rows


def test_frames_parquet_and_excel(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", "b"], "label": [1, 2], "weight": [0.5, None]})
    dataset = read(frame)
    assert pairs(dataset) == [("a", "1"), ("b", "2")]
    assert [example.extra for example in dataset] == [{"weight": 0.5}, {"weight": None}]
    pytest.importorskip("pyarrow")
    frame.to_parquet(tmp_path / "x.parquet")
    assert pairs(read(tmp_path / "x.parquet")) == pairs(dataset)
    pytest.importorskip("openpyxl")
    frame.to_excel(tmp_path / "x.xlsx", index=False)
    assert pairs(read(tmp_path / "x.xlsx")) == pairs(dataset)
    with pytest.raises(HandloomError, match="cannot be read as an Excel file"):
        read(write(tmp_path, "y.xlsx", "no"))
    with pytest.raises(HandloomError, match="cannot be read as Parquet"):
        read(write(tmp_path, "y.parquet", "no"))


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    for name in ("x.parquet", "x.xlsx"):
        with pytest.raises(HandloomError, match=r"pip install 'handloom\[files\]'"):
            read(write(tmp_path, name, "x"))


def test_a_folder_for_each_label(tmp_path: Path) -> None:
    for name, text in (("neg/1.txt", "bad"), ("pos/2.txt", "fine"), ("pos/1.txt", "good"), (".git/x", "no")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, name, text)
    dataset = read(tmp_path)
    assert pairs(dataset) == [("bad", "neg"), ("good", "pos"), ("fine", "pos")]
    assert dataset[1].extra == {"file": "pos/1.txt"}
    digest = dataset.source.sha256
    write(tmp_path, "pos/1.txt", "good!")
    assert read(tmp_path).source.sha256 != digest
    (tmp_path / "train").mkdir()
    with pytest.raises(HandloomError, match="holds splits"):
        read(tmp_path)


MARIE = (Span(0, 11, "PER", "Marie Curie"), Span(15, 20, "LOC", "Paris"))

same_spans = [
    ("x.conll", "Marie\tB-PER\nCurie\tI-PER\nin\tO\nParis\tB-LOC\n"),
    ("x.conll", "# id = 1\nMarie B-PER\nCurie I-PER\nin O\nParis B-LOC\n\n\n"),
    ("x.txt", "-DOCSTART- -X- O\n\nMarie NNP B-PER\nCurie NNP E-PER\nin IN O\nParis NNP S-LOC\n"),
    ("x.tsv", "Marie\tPER\r\nCurie\tPER\r\nin\tO\r\nParis\tLOC\r\n\t\r\n"),
    ("x.jsonl", '{"tokens": ["Marie", "Curie", "in", "Paris"], "ner_tags": ["I-PER", "I-PER", "O", "I-LOC"]}'),
    ("x.jsonl", '{"text": "Marie Curie in Paris", "spans": [{"start": 15, "end": 20, "label": "LOC"}, '
                '{"start": 0, "end": 11, "label": "PER", "text": "Marie Curie"}]}'),
    ("x.jsonl", '{"id": 3, "text": "Marie Curie in Paris", "label": [[0, 11, "PER"], [15, 20, "LOC"]]}'),
    ("x.csv", 'tokens,tags\n"[""Marie"", ""Curie"", ""in"", ""Paris""]","[""B-PER"", ""I-PER"", ""O"", ""B-LOC""]"\n'),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content"), same_spans)
def test_forms_of_the_same_spans(name: str, content: str, tmp_path: Path) -> None:
    dataset = read(write(tmp_path, name, content), TOKEN)
    assert len(dataset) == 1
    assert dataset[0].text == "Marie Curie in Paris"
    assert dataset[0].spans == MARIE
    assert dataset.labels == ["LOC", "PER"]


def test_tagged_rows_in_memory() -> None:
    words, tags = ["Marie", "Curie", "in", "Paris"], ["B-PER", "I-PER", "O", "B-LOC"]
    expected = ("Marie Curie in Paris", MARIE)
    spans = [{"start": 0, "end": 11, "label": "PER"}, {"start": 15, "end": 20, "label": "LOC"}]
    for rows in ([(words, tags)], [{"tokens": words, "tags": tags}], [("Marie Curie in Paris", spans)]):
        assert [(one.text, one.spans) for one in read(rows, TOKEN)] == [expected]
    assert read([words], TOKEN, labelled=False)[0].words == ((0, 5), (6, 11), (12, 14), (15, 20))


def test_every_line_is_a_text_or_refused(tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match=r"an empty text .*x\.txt:2"):
        read(write(tmp_path, "x.txt", "one\n\nthree\n\n"), labelled=False)
    with pytest.raises(HandloomError, match=r"an empty text .*x\.csv:3"):
        read(write(tmp_path, "x.csv", 'text\none\n""\nthree\n'), labelled=False)
    assert len(read(write(tmp_path, "x.txt", "one\ntwo\n\n\n"), labelled=False)) == 2
    assert len(read(write(tmp_path, "x.csv", "text,label\none,a\n\n,\n"))) == 1


def test_a_header_that_is_none_is_told(tmp_path: Path) -> None:
    found = read(write(tmp_path, "x.tsv", "hello\ta\nworld\tb\n"), text_column="1", label_column="2")
    assert len(found) == 1
    assert any("the first row is taken for the columns' names ('hello', 'a')" in note for note in found.notes)
    for content in ("text,label\nhello,a\n", "review,verdict\nhello,a\n"):
        plain = read(write(tmp_path, "x.csv", content), text_column=content.split(",")[0], label_column=None if
                     "label" in content else "verdict")  # fmt: skip
        assert not any("first row" in note for note in plain.notes)


def test_files_that_a_folder_holds_besides_are_told(tmp_path: Path) -> None:
    for name in ("pos/a.txt", "neg/b.txt", "pos/sub/c.txt", "stray.txt"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text("a text")
    (tmp_path / "f" / "empty").mkdir()
    found = read(tmp_path / "f")
    assert len(found) == 2 and any(note.endswith("3 (stray.txt, empty, pos/sub)") for note in found.notes)
    (tmp_path / "f" / "pos" / "nothing.txt").touch()
    kept = read(tmp_path / "f", blanks="keep")
    assert any(note.endswith("4 (stray.txt, empty, pos/sub, pos/nothing.txt)") for note in kept.notes)
    with pytest.raises(HandloomError, match=r"an empty file: .*nothing\.txt"):
        read(tmp_path / "f")


def test_a_frame_with_a_name_twice() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(HandloomError, match="data frame has names of columns more than once: 'text'"):
        read(pandas.DataFrame([["a", "b", "x"]], columns=["text", "text", "label"]))


def test_columns_of_conll_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "x.conll", "1 Marie NNP B-PER\n2 sang VBD O\n")
    assert read(path, TOKEN, text_column=2)[0].text == "Marie sang"
    plain = read(path, TOKEN, text_column="2", label_column="3")
    assert [span.label for span in plain[0].spans or ()] == ["NNP", "VBD"] and str(plain.scheme) == "plain"
    with pytest.raises(HandloomError, match=r"has no column 5 \(--label-column\); there are 4"):
        read(path, TOKEN, label_column=5)
    with pytest.raises(UsageError, match="columns of a CoNLL file have no names"):
        read(path, TOKEN, label_column="ner")


def test_conllu(tmp_path: Path) -> None:
    rows = ["# text = vámonos ya", "1-2\tvámonos\t" + "\t".join("_" * 8), "1\tvamos\tir\tVERB\t" + "\t".join("_" * 6),
            "2\tnos\tnosotros\tPRON\t" + "\t".join("_" * 6), "2.1\tx\tx\tX\t" + "\t".join("_" * 6),
            "3\tya\tya\tADV\t" + "\t".join("_" * 6)]  # fmt: skip
    dataset = read(write(tmp_path, "x.conllu", "\n".join(rows) + "\n"), TOKEN)
    assert (dataset[0].text, dataset[0].tags) == ("vamos nos ya", ("VERB", "PRON", "ADV"))


def test_a_hash_is_a_word_and_an_ideographic_space_too(tmp_path: Path) -> None:
    dataset = read(write(tmp_path, "x.conll", "# O\n\u3000 O\n#1 B-X\n\n#\tO\n"), TOKEN)
    assert dataset[0].tags == ("O", "O", "B-X")
    tabbed = read(write(tmp_path, "y.conll", "# a comment\n#\tO\nNew York\tB-LOC\n"), TOKEN)
    assert "lines that are comments or -DOCSTART- are left out: 1" in tabbed.notes
    assert tabbed[0].text == "# New York" and tabbed[0].spans == (Span(2, 10, "LOC", "New York"),)


def test_text_tagged_by_characters_is_joined_without_spaces(tmp_path: Path) -> None:
    dataset = read(
        write(tmp_path, "x.bmes", "1 O\n9 O\n年 O\n北 B-LOC\n京 E-LOC\nP S-X\n\n上 B-LOC\n海 M-LOC\n市 E-LOC\n"), TOKEN
    )
    assert dataset[0].text == "19年北京P" and dataset.unit == "characters"
    assert dataset[0].spans == (Span(3, 5, "LOC", "北京"), Span(5, 6, "X", "P"))
    assert str(dataset.scheme) == "BMES"


@given(
    st.lists(
        st.lists(
            st.tuples(st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]), min_size=1),
                      st.sampled_from(["O", "B-A", "I-A", "B-b-c", "I-b-c"])),
            min_size=1, max_size=5,
        ),
        min_size=1, max_size=4,
    ),
    st.sampled_from(["\t", " "]),
    st.sampled_from(["\n", "\r\n"]),
)  # fmt: skip
def test_any_words_survive_conll(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[tuple[str, str]]], delimiter: str, newline: str
) -> None:
    lines = [line for text in texts for line in [*(f"{word}{delimiter}{tag}" for word, tag in text), ""]]
    path = write(tmp_path_factory.mktemp("conll"), "x.conll", newline.join(lines))
    first = texts[0][0][0]
    if first.startswith(("\ufeff", "-DOCSTART-")):
        return
    dataset = read(path, TOKEN)
    words = [[one.text[start:end] for start, end in one.words or ()] for one in dataset]
    assert words == [[word for word, _ in text] for text in texts]
    assert [one.tags for one in dataset] == [tuple(tag for _, tag in text) for text in texts]


PARTS = ["text", "label", ",", "\t", " ", "\n", "\n\n", '"', "B-X", "O", "I-", "a", "天", "{", "}", "[", "]", ":", "1"]
PARTS += ["null", "NaN", "#", "\r", "\x00", "-DOCSTART-", "\ufeff", "\u2028"]
PARTS += [
    '{"text": "a", "label": ',
    '{"tokens": ["a"], "tags": ',
    '"spans": ',
    '["O"]',
    "}\n",
    '"b"',
    "[0, 1, ",
    "a\tO\n",
]
NOISE = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.lists(st.sampled_from(PARTS), max_size=25).map(lambda parts: "".join(parts).encode()),
)


@settings(max_examples=300)
@given(
    NOISE,
    st.sampled_from(["x.csv", "x.tsv", "x.jsonl", "x.json", "x.conll", "x.txt", "x"]),
    st.sampled_from([TEXT, TOKEN]),
    st.booleans(),
    st.sampled_from(["error", "keep"]),
)
def test_noise_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str, task: str, labelled: bool, blanks: str
) -> None:
    path = write(tmp_path_factory.getbasetemp(), name, content)
    try:
        dataset = read(path, task, labelled=labelled, blanks=blanks)
    except HandloomError as error:
        assert name in str(error) or "--" in str(error)
        return
    assert len(dataset) > 0
    for one in dataset:
        assert isinstance(one.text, str)
        if isinstance(one, TokenExample):
            assert all(one.text[span.start : span.end] == span.text for span in one.spans or ())
        if labelled and blanks == "error":
            assert one.text.strip() and (task == TOKEN or one.labels)


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "x")
    with pytest.raises(HandloomError, match=r"trian\.csv does not exist\. Did you mean train\.csv\?"):
        read(tmp_path / "trian.csv")
    with pytest.raises(HandloomError, match=r"Did you mean train\.csv\?"):
        read(tmp_path / "train.jsonl")
    with pytest.raises(HandloomError, match=r"neither does the folder"):
        read(tmp_path / "no" / "train.csv")


def test_bad_rows_in_memory_are_refused() -> None:
    with pytest.raises(HandloomError, match="empty list"):
        read([])
    with pytest.raises(HandloomError, match=r"row 1: \('b',\) should be \(text, label\) or \(text, pair, label\)"):
        read([("a", "x"), ("b",)])
    with pytest.raises(HandloomError, match=r"row 0: 'a' should be"):
        read(["a"])
    with pytest.raises(HandloomError, match=r"row 0: .* should be \(words, tags\), both lists"):
        read([(["a"], "O")], TOKEN)
    with pytest.raises(UsageError, match="not int"):
        read(3)
    with pytest.raises(UsageError, match="a text is a str, not bytes"):
        read(b"a film", labelled=False)
    with pytest.raises(HandloomError, match=r"row 0: 1 should be a str or \(text, pair\)"):
        read([1], labelled=False)
    with pytest.raises(UsageError, match="no reader for the task 'ner'"):
        read([("a", "x")], "ner")


def test_blanks_may_be_kept_for_a_check() -> None:
    assert pairs(read([("", "x"), ("a", None)], blanks="keep")) == [("", "x"), ("a", None)]


SAMPLES = {
    "gb18030": "text,label\n这家餐馆的菜很好吃，我们下次还会来，服务员也非常热情,好\n",
    "big5": "text,label\n這家餐館的菜很好吃，我們下次還會來，服務員也非常熱情,好\n",
    "shift_jis": "text,label\nこのレストランの料理はとてもおいしかったです,よい\n",
    "euc_jp": "text,label\nこのレストランの料理はとてもおいしかったです,よい\n",
    "euc_kr": "text,label\n이 식당은 음식이 정말 맛있고 직원들도 친절합니다,좋음\n",
    "cp1252": "text,label\nLe café était déjà fermé – très déçu,négatif\n",
    "cp1251": "text,label\nОчень вкусная еда и приветливый персонал,хорошо\n",
    "koi8_r": "text,label\nОчень вкусная еда и приветливый персонал,хорошо\n",
    "utf-16": "text,label\nfine,good\n",
    "utf-16-le": "text,label\nfine,good\n",
}


@pytest.mark.parametrize("encoding", SAMPLES)
def test_the_likely_encoding_is_named_with_the_option(encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", SAMPLES[encoding].encode(encoding))
    with pytest.raises(HandloomError, match=rf"x\.csv .*byte.* --encoding {encoding}$"):
        read(path)
    assert read(path, encoding=encoding)[0].text == SAMPLES[encoding].split("\n")[1].split(",")[0]


def test_a_few_chinese_characters_are_enough(tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match="looks like gb18030"):
        read(write(tmp_path, "x.csv", "内容,标签\n物流快,1\n".encode("gb18030")))


def test_the_first_wrong_byte_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "x.csv", b"text,label\nfine,a\ncaf" + b"\xe9,b\n")
    with pytest.raises(HandloomError, match=r"x\.csv is not UTF-8: byte 21 \(line 3\) is 0xE9\. It looks like cp1252"):
        read(path)
    marked = write(tmp_path, "y.csv", b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(HandloomError, match=r"byte 24 "):
        read(marked)


def test_wnut17(data_folder: Path) -> None:
    sizes = {"train": (3394, 1975), "valid": (1009, 836), "test": (1287, 1079)}
    for name, (texts, spans) in sizes.items():
        dataset = read(data_folder / "ner" / "wnut17" / f"{name}.conll", TOKEN)
        assert len(dataset) == texts and str(dataset.scheme) == "BIO"
        assert sum(len(one.spans or ()) for one in dataset) == spans
        assert len(dataset.labels) == 6
        for one in dataset:
            assert isinstance(one, TokenExample)
            assert all(one.text[span.start : span.end] == span.text for span in one.spans or ())


def test_resume_zh(data_folder: Path) -> None:
    dataset = read(data_folder / "ner" / "resume_zh" / "train.char.bmes", TOKEN)
    assert (len(dataset), str(dataset.scheme), dataset.unit) == (3821, "BMES", "characters")
    assert dataset[0].text == "高勇：男，中国国籍，无境外居留权，"
    assert [span.text for span in dataset[0].spans or ()] == ["高勇", "中国国籍"]


def test_banking77(data_folder: Path) -> None:
    folder = data_folder / "classification" / "banking77"
    train, test = read(folder / "train.csv"), read(folder / "test.csv")
    assert (len(train), len(test), len(train.labels)) == (10003, 3080, 77)
    assert train.labels == test.labels
    assert dict(train.columns) == {"text": "text", "label": "category"}


@pytest.mark.parametrize(("task", "row"), [
    (TEXT, ("a", "x")), ("translation", ("a", "b")), ("question-answering", ("a", "b c", "b")),
    ("sentence-similarity", ("a", "b", 0.5)), ("multiple-choice", ("a", ["b", "c"], "b")),
])  # fmt: skip
def test_tuples_have_no_columns_to_tell_of(task: str, row: tuple[object, ...]) -> None:
    names = KINDS[task].tuples[0][len(row)]
    assert not [note for note in read([row], task).notes if ": column " in note]
    assert [note for note in read([dict(zip(names, row, strict=True))], task).notes if ": column " in note]


def test_a_row_of_json_that_lacks_a_column_is_not_called_empty(tmp_path: Path) -> None:
    rows = '{"question": "q", "answer": "a"}\n{"question": "r", "answers": ["b"]}\n'
    path = write(tmp_path, "pair.jsonl", rows)
    told = r"pair\.jsonl:2: the row has no 'answer'; it has 'answers', 'question'\."
    for task, role in (("sentence-similarity", "pair"), ("text-classification", "label")):
        how: dict[str, Any] = {"text_column": "question", f"{role}_column": "answer"}
        with pytest.raises(HandloomError, match=told):
            read(path, task, **how)
        kept = read(path, task, blanks="keep", **how)
        assert any(re.search(told, note) for note in kept.notes)
    with pytest.raises(HandloomError) as found:  # the column is there, and empty
        read([{"text": "a", "label": "x"}, {"text": "", "label": "x"}])
    assert "the row has no" not in str(found.value)


def test_binary_files_are_passed_over_in_a_folder_of_labels(tmp_path: Path) -> None:
    for name, content in {"a/1.txt": b"good", "b/1.txt": b"bad", "b/wide.txt": "bad".encode("utf-16"),
                          "b/x.bin": bytes(range(256)) * 4, "b/zero.bin": b"\0\1\0\2" * 50}.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(HandloomError, match=r"wide\.txt is UTF-16.*--encoding utf-16"):
        read(tmp_path)
    (tmp_path / "b/wide.txt").unlink()
    found = read(tmp_path)
    assert len(found) == 2 and "not read, as they are no text: 2 (b/x.bin, b/zero.bin)" in found.notes
    with pytest.raises(HandloomError, match="is not UTF-8") as refused:
        read(tmp_path / "b/x.bin")
    assert "utf-16" not in str(refused.value)
    (tmp_path / "b/gb.txt").write_bytes("这家餐馆的菜很好吃，我们下次还会来".encode("gb18030"))
    with pytest.raises(HandloomError, match=r"gb\.txt.*looks like gb18030"):
        read(tmp_path)


def test_numbers_of_a_table_are_numbers_where_one_has_a_fraction(tmp_path: Path) -> None:
    values = {"number": ("1.5", "2", "-3e1"), "one": ("1", "2", "3")}
    for problem, marks in values.items():
        rows = "".join(f"t{i},{mark}\n" for i, mark in enumerate(marks))
        found = read(write(tmp_path, "x.csv", "text,label\n" + rows))
        assert found.problem == problem
        assert [one.label for one in found] == (list(map(float, marks)) if problem == "number" else list(marks))
    for last in ("1.2.3", "high", "inf"):
        assert read(write(tmp_path, "x.csv", f"text,label\na,1.5\nb,{last}\n")).problem == "one"
    assert read([("a", "1.5"), ("b", "2")]).problem == "one"  # texts, where numbers could be written


def test_bars_in_labels_are_a_hint_where_some_are_empty(tmp_path: Path) -> None:
    for rows, hint in (("a,book|film\nb,\n", True), ("a,book\nb,\n", False)):
        with pytest.raises(HandloomError, match="1 row with an empty label") as found:
            read(write(tmp_path, "x.csv", "text,labels\n" + rows))
        assert ("--problem several reads them so" in str(found.value)) is hint
