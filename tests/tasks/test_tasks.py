from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer as Raw
from tokenizers import models, normalizers, pre_tokenizers, processors

from handloom.data.examples import TextExample, TokenExample
from handloom.data.readers import read
from handloom.errors import HandloomError
from handloom.tasks.scores import Scores
from handloom.tasks.task import Array, Encoded, softmax
from handloom.tasks.text_classification import Prediction, TextClassification
from handloom.tasks.token_classification import TokenClassification
from handloom.text.schemes import Scheme
from handloom.text.spans import Span
from handloom.text.tokenizer import Tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##b", "##c", "x", "y", "人", "在", "北", "京"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    raw = Raw(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    raw.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def certain(labels: list[int], classes: int) -> Array:
    """Logits [rows, classes] that leave no doubt."""
    return np.eye(classes, dtype=np.float32)[labels] * 9


# -- texts


def test_a_texts_logits_are_the_mean_over_its_windows(tokenizer: Tokenizer) -> None:
    task = TextClassification(["no", "yes"])
    examples = [TextExample("a x a x a x a x", label="yes"), TextExample("a", label="no")]
    encoded = task.encode(examples, tokenizer, 6, "windows")
    assert [f.example for f in encoded.features] == [0, 0, 0, 1]
    assert all(len(f) <= 6 for f in encoded.features) and "windows" in encoded.notes[0]
    assert [int(f.label) for f in encoded.features if f.label is not None] == [1, 1, 1, 0]
    logits = [np.array(row, np.float32) for row in ([3, 0], [0, 2], [0, 4], [1, 0])]
    found = task.decode(examples, encoded, logits)
    assert [p.label for p in found] == ["yes", "no"]
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-1)))  # means are (1, 2)
    assert found[0].to_dict() == {"label": "yes", "scores": found[0].scores}


def test_pairs_have_segments(tokenizer: Tokenizer) -> None:
    task = TextClassification(["no", "yes"])
    encoded = task.encode([TextExample("a b", pair="x", label="no")], tokenizer, 16, "windows")
    assert encoded.features[0].encoding.types.tolist() == [0, 0, 0, 0, 1, 1]


def test_scores_and_the_worst_mistakes() -> None:
    task = TextClassification(["n", "y"])
    examples = [TextExample(t, label=y) for t, y in (("p", "y"), ("q", "y"), ("r", "n"), ("s", "n"))]
    guesses = [("y", 0.9), ("n", 0.6), ("n", 0.8), ("y", 0.7)]
    scores = task.score(examples, [Prediction(label, sure, {}) for label, sure in guesses])
    assert scores.metrics.pop("calibration_error") == pytest.approx((0.1 + 0.6 + 0.2 + 0.7) / 4)
    assert scores.metrics == {"accuracy": 0.5, "macro_f1": 0.5, "weighted_f1": 0.5}
    assert [(m.text, m.gold, m.guess, m.score) for m in scores.mistakes] == [("s", "n", "y", 0.7), ("q", "y", "n", 0.6)]
    assert scores.confusion is not None and scores.confusion.tolist() == [[1, 1], [1, 1]]
    again = Scores.from_dict(scores.to_dict())
    assert again.to_dict() == scores.to_dict()


def test_unknown_labels_say_where() -> None:
    task = TextClassification(["n", "y"])
    with pytest.raises(HandloomError, match=r"t.csv:3: the label 'maybe'"):
        task.score([TextExample("p", label="maybe", where="t.csv:3")], [Prediction("y", 1.0, {})])


# -- tokens


def test_the_first_sub_word_speaks_for_a_word(tokenizer: Tokenizer) -> None:
    task = TokenClassification(["O", "B-N", "I-N"])
    examples = read([(["abc", "\u200b", "x", "bb"], ["B-N", "O", "O", "B-N"])], "token-classification").examples
    encoded = task.encode(examples, tokenizer, 16, "windows")
    feature = encoded.features[0]
    assert [WORDS[i] for i in feature.encoding.ids.tolist()] == ["[CLS]", "a", "##b", "##c", "x", "b", "##b", "[SEP]"]
    assert feature.rows is not None and feature.rows.tolist() == [1, 4, 5]
    assert feature.words is not None and feature.words.tolist() == [0, 2, 3]  # nothing is left of the second word
    assert feature.label is not None and feature.label.tolist() == [1, 0, 1]
    tagged = task.decode(examples, encoded, [certain([1, 2, 0], 3)])[0]
    assert tagged.tags == ("B-N", None, "I-N", "O")
    assert [(s.start, s.end, s.label, s.text) for s in tagged.spans] == [(0, 7, "N", "abc \u200b x")]
    assert tagged.spans[0].score == pytest.approx(float(softmax(certain([0], 3))[0, 0]))


def test_windows_of_tokens_are_merged(tokenizer: Tokenizer) -> None:
    """Each word is judged by the window in which it has most context; every word exactly once."""
    task = TokenClassification(["O", "B-N", "I-N"])
    words = ["abc", "x", "y"] * 6
    examples = read([(words, ["B-N", "I-N", "O"] * 6)], "token-classification").examples
    encoded = task.encode(examples, tokenizer, 12, "windows")
    assert len(encoded.features) > 2
    for feature in encoded.features:
        assert feature.rows is not None and feature.words is not None and feature.label is not None
        spoken = feature.encoding.ids[feature.rows].tolist()
        assert [WORDS[i] for i in spoken] == [words[w][0] for w in feature.words.tolist()]
        assert feature.label.tolist() == [[1, 2, 0][w % 3] for w in feature.words.tolist()]
    truth = [certain(f.label.tolist(), 3) for f in encoded.features if f.label is not None]
    tagged = task.decode(examples, encoded, truth)[0]
    assert list(tagged.tags) == ["B-N", "I-N", "O"] * 6
    assert task.score(examples, [tagged])["span_f1"] == 1.0


@pytest.mark.parametrize("subwords", ["all", "mean"])
def test_sub_words_speak_together_in_the_window_that_holds_their_first(tokenizer: Tokenizer, subwords: str) -> None:
    task = TokenClassification(["O", "B-N", "I-N"], subwords=subwords)
    words = ["abc", "x", "bb"] * 6
    examples = read([(words, ["B-N", "I-N", "O"] * 6)], "token-classification").examples
    encoded = task.encode(examples, tokenizer, 9, "windows")
    assert len(encoded.features) > 3
    batch = task.pack(encoded.features)
    assert set(batch) >= {"rows", "labels"} and (("shares" in batch) == (subwords == "mean"))
    firsts, logits = set(), []
    for feature in encoded.features:
        assert feature.rows is not None and feature.words is not None and feature.label is not None
        spoken = feature.words.tolist()
        said = sorted(set(spoken)) if subwords == "mean" else spoken
        assert feature.label.tolist() == [[1, 2, 0][w % 3] for w in said]
        for word in set(spoken):  # the first of a word's rows is its first token
            firsts.add(word)
            assert WORDS[feature.encoding.ids[feature.rows[spoken.index(word)]]] == words[word][0]
        rows = certain([[1, 2, 0][w % 3] for w in spoken], 3)
        for i, word in enumerate(spoken[1:], 1):  # a later sub-word that is wrong, but less sure
            if word == spoken[i - 1]:
                rows[i] = [0.5, 0.0, 0.0]
        logits.append(rows)
    assert firsts == set(range(18))
    assert list(task.decode(examples, encoded, logits)[0].tags) == ["B-N", "I-N", "O"] * 6
    if subwords == "mean":
        sums = np.zeros((len(batch["labels"]), 3), np.float32)
        np.add.at(sums, batch["words"], np.concatenate(logits) * batch["shares"][:, None])
        assert sums.argmax(1).tolist() == batch["labels"].tolist()


def test_cut_words_have_no_tag(tokenizer: Tokenizer) -> None:
    task = TokenClassification(["O", "B-N", "I-N"])
    examples = read([(["a", "x", "y", "a", "x", "y"], ["B-N", "O", "O"] * 2)], "token-classification").examples
    encoded = task.encode(examples, tokenizer, 5, "head")
    assert "shortened" in encoded.notes[0]
    tagged = task.decode(examples, encoded, [certain([1, 0, 0], 3)])[0]
    assert tagged.tags == ("B-N", "O", "O", None, None, None)
    assert task.score(examples, [tagged])["span_recall"] == 0.5


def test_untouched_text_with_spans(tokenizer: Tokenizer) -> None:
    task = TokenClassification(["O", "B-P", "I-P"], unit="characters")
    example = TokenExample("人在北京", spans=(Span(2, 4, "P"),))
    assert task.tags(example) == ["O", "O", "B-P", "I-P"]
    encoded = task.encode([example], tokenizer, 16, "windows")
    tagged = task.decode([example], encoded, [certain([0, 0, 1, 2], 3)])[0]
    assert tagged.to_dict()["spans"][0]["text"] == "北京"
    scores = task.score([example], [tagged])
    assert scores["span_f1"] == 1.0 and scores.labels["P"]["support"] == 1.0 and not scores.mistakes


def test_mistakes_are_wrong_and_missed_spans(tokenizer: Tokenizer) -> None:
    task = TokenClassification(["O", "B-N", "I-N", "B-M", "I-M"])
    examples = read([(["a", "x", "y"], ["B-N", "O", "B-M"])], "token-classification").examples
    encoded = task.encode(examples, tokenizer, 16, "windows")
    scores = task.score(examples, task.decode(examples, encoded, [certain([3, 0, 0], 5)]))
    assert {(m.gold, m.guess) for m in scores.mistakes} == {("N: a", "M: a"), ("M: y", "nothing")}
    assert scores.confusion_labels == ("O", "M", "N")
    assert scores.confusion is not None and scores.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_parts_of_speech_are_scored_word_by_word(tokenizer: Tokenizer) -> None:
    task = TokenClassification(["DET", "NOUN"], Scheme("plain", ""))
    examples = read([(["a", "x"], ["DET", "NOUN"])], "token-classification").examples
    encoded = task.encode(examples, tokenizer, 16, "windows")
    scores = task.score(examples, task.decode(examples, encoded, [certain([0, 0], 2)]))
    assert task.metric == "accuracy" and scores["accuracy"] == 0.5


@pytest.mark.parametrize("task", [TextClassification(["n", "y"]), TokenClassification(["O", "B-N", "I-N"])])
def test_nothing_in_nothing_out(task: TextClassification | TokenClassification) -> None:
    assert task.decode([], Encoded([], 0), []) == []
