"""Tokenizers: three kinds of folder, offsets into the user's own string, the way back to disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from handloom.errors import HandloomError
from handloom.text import unknown
from handloom.text.encoding import Encoding
from handloom.text.tokenizer import Tokenizer
from handloom.text.words import split_words

ODD = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("aé e\u0301İßﬁ我京🧑🏽‍🚀\u200b\u200d\ufe0f\x00\x07\u202e\ud800\u3000ａＫℌ\u0e33가ﷺ'.!"),
    ),
    max_size=20,
)
KINDS = st.sampled_from(["bert", "roberta"])


def words_of(tokenizer: Tokenizer, text: str, words: list[tuple[int, int]]) -> Encoding:
    return tokenizer.encode_words_batch([text], [words])[0]


def spelled(tokenizer: Tokenizer, encoding: Encoding) -> list[str]:
    return [tokenizer.token(index) for index in encoding.ids.tolist()]


def stretches(text: str, encoding: Encoding) -> list[str]:
    return [text[start:end] for start, end in encoding.offsets[~encoding.special].tolist()]


def test_word_piece(bert: Tokenizer) -> None:
    text = "The  Cat playing, ünaffable\u0301 我爱"
    encoding = bert.encode(text)
    own = ["the", "cat", "play", "##ing", ",", "un", "##aff", "##able", "我", "爱"]
    assert spelled(bert, encoding) == ["[CLS]", *own, "[SEP]"]
    # A mark that the vocabulary drops at a word's end belongs to no token; words, not tokens, bound spans.
    assert stretches(text, encoding) == ["The", "Cat", "play", "ing", ",", "ün", "aff", "able", "我", "爱"]
    assert encoding.special.tolist() == [True] + [False] * 10 + [True]
    assert encoding.words.tolist() == [-1, 0, 1, 2, 2, 3, 4, 4, 4, 5, 6, -1]
    assert (bert.pad, bert.unk, bert.cls, bert.sep, bert.mask) == (0, 1, 2, 3, 4)
    assert bert.max_length == 512


def test_a_pair(bert: Tokenizer, roberta: Tokenizer) -> None:
    encoding = bert.encode("the cat", "a dog !")
    assert spelled(bert, encoding) == ["[CLS]", "the", "cat", "[SEP]", "a", "dog", "!", "[SEP]"]
    assert encoding.types.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert encoding.sequence.tolist() == [-1, 0, 0, -1, 1, 1, 1, -1]
    assert encoding.first_tokens().tolist() == [1, 2]
    framed = roberta.encode("the", "the")
    kinds = [token for token, special in zip(spelled(roberta, framed), framed.special, strict=True) if special]
    assert kinds == ["<s>", "</s>", "</s>", "</s>"]
    assert framed.sequence.tolist() == [-1, *[0] * (len(framed) // 2 - 2), -1, -1, *[1] * (len(framed) // 2 - 2), -1]
    assert not framed.types.any()


def test_byte_level(roberta: Tokenizer) -> None:
    text = "the  cat 🧑 in Paris"
    encoding = roberta.encode(text)
    assert spelled(roberta, encoding)[0] == "<s>" and spelled(roberta, encoding)[-1] == "</s>"
    own = encoding.offsets[~encoding.special]
    for start, end in own.tolist():
        assert start == end or not text[start].isspace()
    covered = {index for start, end in own.tolist() for index in range(start, end)}
    assert covered == {index for index, character in enumerate(text) if character != " "}
    assert roberta.unk == 3 and not (encoding.ids == roberta.unk).any()


def test_words_of_byte_level_know_the_space_before_them(roberta: Tokenizer) -> None:
    text = "cat in the Paris!"
    words = split_words(text)
    whole = roberta.encode(" " + text)
    split = words_of(roberta, text, words)
    assert split.ids.tolist() == whole.ids.tolist()
    assert (split.offsets + 1)[~split.special].tolist() == whole.offsets[~whole.special].tolist()


def test_words_without_tokens_shift_nothing(bert: Tokenizer) -> None:
    words = ["the", "\x07\x00", "cat", "\u200b", "playing", ""]
    text = " ".join(words)
    places, at = [], 0
    for word in words:
        places.append((at, at + len(word)))
        at += len(word) + 1
    encoding = words_of(bert, text, places)
    assert spelled(bert, encoding) == ["[CLS]", "the", "cat", "play", "##ing", "[SEP]"]
    assert encoding.words.tolist() == [-1, 0, 2, 4, 4, -1]
    assert stretches(text, encoding) == ["the", "cat", "play", "ing"]
    assert encoding.first_tokens().tolist() == [1, 2, 3]


@given(ODD, ODD, KINDS)
def test_offsets_point_into_any_string(bert: Tokenizer, roberta: Tokenizer, text: str, pair: str, kind: str) -> None:
    encoding = (bert if kind == "bert" else roberta).encode(text, pair)
    for number, string in ((0, text), (1, pair)):
        offsets = encoding.offsets[encoding.sequence == number]
        assert (offsets[:, 0] <= offsets[:, 1]).all()
        assert (offsets >= 0).all() and (offsets <= len(string)).all()
        assert (np.diff(offsets[:, 0]) >= 0).all() or kind == "roberta"
    assert (encoding.offsets[encoding.special] == 0).all()


@given(ODD, KINDS)
def test_tokens_of_a_word_lie_in_it(bert: Tokenizer, roberta: Tokenizer, text: str, kind: str) -> None:
    words = split_words(text)
    encoding = words_of((bert if kind == "bert" else roberta), text, words)
    own = np.flatnonzero(encoding.sequence == 0)
    assert (np.diff(encoding.words[own]) >= 0).all()
    for token in own.tolist():
        start, end = words[int(encoding.words[token])]
        assert start <= encoding.offsets[token, 0] <= encoding.offsets[token, 1] <= end
    assert encoding.words[encoding.first_tokens()].tolist() == sorted(set(encoding.words[own].tolist()))


@given(st.lists(ODD, min_size=1, max_size=4))
def test_a_batch_is_its_texts_one_by_one(bert: Tokenizer, texts: list[str]) -> None:
    for text, encoding in zip(texts, bert.encode_batch(texts), strict=True):
        assert encoding.ids.tolist() == bert.encode(text).ids.tolist()


def test_padding_and_truncation_of_the_file_are_overruled(bert_folder: Path, tmp_path: Path) -> None:
    import tokenizers

    Tokenizer.load(bert_folder).save(tmp_path)
    raw = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    raw.enable_truncation(4)
    raw.enable_padding(length=4)
    raw.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    assert [len(encoding) for encoding in loaded.encode_batch(["the", "the cat lives in paris"])] == [3, 7]


def test_saving_keeps_files_and_completes_them(bert_folder: Path, roberta_folder: Path, tmp_path: Path) -> None:
    for name, folder in (("bert", bert_folder), ("roberta", roberta_folder)):
        first, second = tmp_path / name, tmp_path / f"{name}2"
        original = Tokenizer.load(folder)
        original.save(first)
        for file in folder.iterdir():
            assert (first / file.name).read_bytes() == file.read_bytes()
        assert {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"} <= set(
            file.name for file in first.iterdir()
        )
        again = Tokenizer.load(first)
        again.save(second)
        for file in first.iterdir():
            assert (second / file.name).read_bytes() == file.read_bytes()
        text = "Marie ünaffable 我爱 🧑, hello"
        assert again.encode(text, text).ids.tolist() == original.encode(text, text).ids.tolist()
        assert again.special_tokens == original.special_tokens


def test_case_can_be_chosen(bert_folder: Path, roberta_folder: Path, tmp_path: Path) -> None:
    cased = Tokenizer.load(bert_folder, lowercase=False)
    assert spelled(cased, cased.encode("The cat"))[1] == "[UNK]"
    cased.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["do_lower_case"] is False
    again = Tokenizer.load(tmp_path)
    assert spelled(again, again.encode("The cat"))[1] == "[UNK]"
    with pytest.raises(HandloomError, match="BERT's normalizer only"):
        Tokenizer.load(roberta_folder, lowercase=True)


def test_a_vocabulary_with_capitals_is_cased_unless_said_otherwise(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nThe\n", encoding="utf-8")
    assert Tokenizer.load(tmp_path).encode("The the").ids.tolist() == [2, 5, 1, 3]


MPNET = ["<s>", "<pad>", "</s>", "<unk>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "我", "<mask>"]


@pytest.fixture
def mpnet_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mpnet"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(MPNET) + "\n", encoding="utf-8")
    return folder


def test_mpnet_has_bert_words_between_robertas_marks(mpnet_folder: Path) -> None:
    tokenizer = Tokenizer.load(mpnet_folder)
    assert tokenizer.special_tokens == {"cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "[UNK]", "mask": "<mask>"}
    encoding = tokenizer.encode("The cat我 zz <mask>", "the")
    assert encoding.ids.tolist() == [0, 9, 10, 11, 5, 12, 2, 2, 9, 2] and not encoding.types.any()


def test_a_chinese_vocabulary_of_single_characters(tmp_path: Path) -> None:
    """As bert-base-chinese has: one character a token, whatever stands between them; Latin letters in pieces."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"我爱北京天安门，。！", "cat", "##s", "2", "##0", "##2"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    tokenizer = Tokenizer.load(tmp_path)
    text = "我爱北京，天安门 CATS 2020[MASK]。　吗"
    encoding = tokenizer.encode(text)
    own = [*"我爱北京，天安门", "cat", "##s", "2", "##0", "##2", "##0", "[MASK]", "。", "[UNK]"]
    assert spelled(tokenizer, encoding) == ["[CLS]", *own, "[SEP]"]
    pieces = [*"我爱北京，天安门", "CAT", "S", *"2020", "。", "吗"]
    places = encoding.offsets[(encoding.sequence == 0) & (encoding.ids != tokenizer.mask)]
    assert [text[start:end] for start, end in places.tolist()] == pieces
    words = split_words("我爱北京")
    assert spelled(tokenizer, words_of(tokenizer, "我爱北京", words)) == ["[CLS]", *"我爱北京", "[SEP]"]


broken = [
    ({}, "holds no tokenizer.*There: nothing"),
    ({"vocab.json": '{"a": 0}', "merges.txt": "", "tokenizer_config.json": '{"tokenizer_class": "Qwen2TokenizerFast"}'},
     "Qwen's tokenizer cuts words otherwise than GPT-2's"),
    ({"my.model": "x"}, "SentencePiece model of another name than .* is not read"),
    ({"tokenizer.json": "{}"}, "tokenizer.json cannot be read as a tokenizer"),
    ({"tokenizer.json": "{"}, "tokenizer.json cannot be read as a tokenizer"),
    ({"vocab.txt": "a\nb\n"}, r"vocab.txt lacks \[CLS\], \[SEP\], \[UNK\]"),
    ({"vocab.txt": "a\n", "tokenizer_config.json": "["}, "tokenizer_config.json is not valid JSON"),
    ({"vocab.txt": "a\n", "tokenizer_config.json": "[]"}, "should hold a JSON object, not a list"),
    ({"vocab.json": '{"a": 0}', "merges.txt": "#version\na b\n"}, "merges.txt:2: 'a b' is not two tokens"),
]


@pytest.mark.parametrize(("files", "message"), broken)
def test_broken_folders_are_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(HandloomError, match=message):
        Tokenizer.load(tmp_path)


def test_unknown_tokens_are_named_with_their_script_and_a_better_model(bert: Tokenizer) -> None:
    texts = ["我爱北京天安门", "the cat 安 安"]
    encodings = bert.encode_batch(texts)
    with pytest.warns(UserWarning, match="Chinese characters: 安") as warned:
        found = bert.unknown_report(texts, encodings)
    assert warned[0].filename == __file__  # the user's line, however deep in Handloom it came up
    assert (found.unknown, found.tokens) == (4, 11)
    assert found.characters == (("安", 3), ("门", 1))
    assert found.suggestion == "google-bert/bert-base-chinese"
    # Only the character at fault is named, not the word around it.
    russian = bert.unknown_report(["catж жж"], bert.encode_batch(["catж жж"]), warn=False)
    assert russian.characters == (("ж", 3),)
    assert (russian.script, russian.suggestion) == ("Cyrillic", "google-bert/bert-base-multilingual-cased")
    emoji = bert.unknown_report(["🚀"], bert.encode_batch(["🚀"]), warn=False)
    assert emoji.script == "symbols and emoji" and "roberta" in emoji.suggestion


def test_only_characters_of_the_script_are_named() -> None:
    found = unknown.report(9, ["é", "é", "🚀", "🎉"], lambda character: False)
    assert "mostly Latin: é (2×). What" in found.message  # as many letters as emoji: a script is more to the point


def test_five_percent_unknown_is_no_warning(bert: Tokenizer, recwarn: pytest.WarningsRecorder) -> None:
    texts = ["the " * 19 + "ж"]
    found = bert.unknown_report(texts, bert.encode_batch(texts))
    assert (found.share, found.message, len(recwarn)) == (0.05, "", 0)


def test_texts_must_be_strings(bert: Tokenizer) -> None:
    with pytest.raises(HandloomError, match="must be a string, not float: nan"):
        bert.encode_batch(["a", float("nan")])  # type: ignore[list-item]
    with pytest.raises(HandloomError, match="takes a list of texts"):
        bert.encode_batch("a")


AWKWARD = [
    "Marie Curie worked in Paris.",
    "e\u0301te\u0301  İstanbul ﬁne ﬀ \u200b zero\u200dwidth",
    "我爱北京天安门 🧑🏽‍🚀 don't 3.5kg",
    "\x07 control \x00 \ufeff mark",
    "hello [MASK] world [SEP] </s>",
    "",
    " ",
]


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["bert", "roberta", "minilm", "mpnet"])
def test_ids_and_offsets_are_those_of_transformers(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = request.getfixturevalue("minilm" if kind == "minilm" else f"{kind}_folder")
    ours = Tokenizer.load(folder)
    ours.save(tmp_path)
    family = {"minilm": "bert"}.get(kind, kind)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in AWKWARD:
        mine = ours.encode(text, "a pair")
        their = theirs(text, "a pair", return_offsets_mapping=True, return_token_type_ids=True)
        assert mine.ids.tolist() == their["input_ids"]
        assert mine.types.tolist() == their["token_type_ids"] or kind in ("roberta", "mpnet")
        if kind != "roberta":  # ours leave the space before a word to no token, theirs do so at some places only
            assert [tuple(pair) for pair in mine.offsets.tolist()] == their["offset_mapping"]
    spaced = transformers.AutoTokenizer.from_pretrained(tmp_path, add_prefix_space=True)
    words = [["Marie", "Curie", "\x07", "worked", "e\u0301t", "🧑🏽‍🚀", "京"], ["a"]]
    for group in words:
        text = " ".join(group)
        places = [(text.index(word), text.index(word) + len(word)) for word in group]
        mine = words_of(ours, text, places)
        their = spaced(group, is_split_into_words=True)
        assert mine.ids.tolist() == their["input_ids"]
        assert mine.words.tolist() == [-1 if word is None else word for word in their.word_ids()]


def test_tokenizer_json_says_what_stands_around_a_text(tmp_path: Path) -> None:
    vocabulary = {word: i for i, word in enumerate(["<s>", "</s>", "<unk>", "a"])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.load(tmp_path).ids("a").tolist() == [3]  # a decoder's, which has these tokens, too
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"cls_token": "<s>", "sep_token": "</s>"}))
    assert Tokenizer.load(tmp_path).ids("a").tolist() == [0, 3, 1]
