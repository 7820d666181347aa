from __future__ import annotations

import numpy as np
import pytest
import tiny_bert

from handloom.data.examples import TextExample
from handloom.data.readers import read
from handloom.tasks.text_classification import TextClassification
from handloom.tasks.token_classification import TokenClassification
from handloom.train.baselines import baselines_for, linear_tags, shape, word_features
from handloom.train.linear import Vectoriser, linear, words_of

TEXTS = [["a", "b", "a"], ["b"], ["a", "c", "zz"]]


def test_words_and_pairs_of_words() -> None:
    assert words_of(TextExample("It's 北京 OK")) == [
        "it", "'", "s", "北", "京", "ok", "it '", "' s", "s 北", "北 京", "京 ok"]  # fmt: skip
    assert words_of(TextExample("a", pair="b c")) == ["a", "⏐b", "⏐c", "⏐b c"]


def test_tf_idf_by_hand() -> None:
    vectoriser = Vectoriser(TEXTS)
    assert vectoriser.places == {"a": 0, "b": 1, "c": 2, "zz": 3}
    ids, weights = vectoriser.rows([["a", "a", "b", "new"], ["new"]], width=4)
    assert ids[0, :2].tolist() == [0, 1]
    idf = np.log(4 / 3) + 1  # a and b stand in two of the three texts
    row = np.array([(1 + np.log(2)) * idf, idf])
    np.testing.assert_allclose(weights[0], [*(row / np.linalg.norm(row)), 0, 0], rtol=1e-6)
    assert not weights[1].any()


@pytest.mark.parity
def test_tf_idf_beside_scikit_learn() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    vectoriser = Vectoriser(TEXTS)
    theirs = text.TfidfVectorizer(analyzer=list, sublinear_tf=True).fit(TEXTS)
    expected = theirs.transform(TEXTS).toarray()
    ids, weights = vectoriser.rows(TEXTS, width=8)
    ours = np.zeros_like(expected)
    for row in range(3):
        np.add.at(ours[row], ids[row], weights[row])
    order = [theirs.vocabulary_[word] for word in vectoriser.places]
    np.testing.assert_allclose(ours[:, : len(order)], expected[:, order], rtol=1e-6)


def test_the_linear_model_learns() -> None:
    task = TextClassification(["neg", "pos"])
    train, test = read(tiny_bert.opinions(300)).examples, read(tiny_bert.opinions(80, seed=7)).examples
    found = task.score(test, linear(task, train, test))
    assert found["accuracy"] >= 0.95
    again = linear(task, train, test)
    assert again == linear(task, train, test)
    usual = baselines_for(task, train, test, 0, None)["most frequent label"]
    assert usual["accuracy"] == max(sum(e.label == name for e in test) for name in task.labels) / 80


def test_the_most_frequent_tag_of_each_word() -> None:
    train = read([(["a", "b"], ["B-N", "O"]), (["a", "c"], ["B-N", "O"]), (["a"], ["O"])], "token-classification")
    test = read([(["a", "b", "new"], ["B-N", "O", "B-N"])], "token-classification")
    task = TokenClassification(["O", "B-N", "I-N"])
    found = baselines_for(task, train.examples, test.examples, 0, None)["most frequent tag of each word"]
    assert found["span_precision"] == 1.0 and found["span_recall"] == 0.5  # unknown words are O


def test_the_most_frequent_tag() -> None:
    train = read([(["a", "b", "c"], ["O", "B-N", "O"])], "token-classification")
    test = read([(["a", "b"], ["O", "B-N"]), (["b"], ["B-N"])], "token-classification")
    found = baselines_for(TokenClassification(["O", "B-N", "I-N"]), train.examples, test.examples, 0, None)
    assert list(found) == ["most frequent tag", "most frequent tag of each word", "linear bag of words"]
    assert found["most frequent tag"].metrics == {
        "span_f1": 0.0, "span_precision": 0.0, "span_recall": 0.0, "accuracy": pytest.approx(1 / 3)}  # fmt: skip


def test_features_of_a_word() -> None:
    assert word_features(["In", "Zürich-9"]) == [
        ["=In", "~in", "#Xx", "1^i", "2^in", "3^in", "1$n", "2$in", "3$in", "-2@", "-1@", "1@zürich-9", "2@"],
        ["=Zürich-9", "~zürich-9", "#Xx-9", "1^z", "2^zü", "3^zür", "1$9", "2$-9", "3$h-9", "-2@", "-1@in", "1@", "2@"],
    ]
    assert [shape(word) for word in ("McDonald's", "R2-D2", "我们", "...", "")] == ["XxXx'x", "X9-X9", "x", ".", ""]


def test_the_linear_model_of_words_learns_from_their_form_and_their_neighbours() -> None:
    rng = np.random.default_rng(0)

    def sentence(names: list[str]) -> tuple[list[str], list[str]]:
        name = names[int(rng.integers(len(names)))]
        words = [["see", "in", name], [name, "says"], ["a", "may"]][int(rng.integers(3))]
        return words, ["B-N" if word == name else "O" for word in words]

    train = read([sentence(["Ana", "Rio", "Bob", "May"]) for _ in range(200)], "token-classification").examples
    new = ["Oslo", "Eva", "Kim"]  # never seen: only a capital and the neighbours tell them
    test = read([sentence(new) for _ in range(60)], "token-classification").examples
    task = TokenClassification(["O", "B-N", "I-N"])
    found = linear_tags(task, train, test)
    assert task.score(test, found)["span_f1"] >= 0.9
    assert baselines_for(task, train, test, 0, None)["most frequent tag of each word"]["span_f1"] == 0.0
    assert all(0.3 < score <= 1 for one in found for score in one.scores)
    assert found == linear_tags(task, train, test)
