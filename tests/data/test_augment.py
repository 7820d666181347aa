"""Copies of training examples: what is labelled stays labelled, and copies stay with what they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from handloom.data.augment import (
    BESIDE,
    augmented,
    back_translation,
    infill,
    mentions,
    mistyped,
    plain_ways,
    synonyms,
    typos,
)
from handloom.data.edits import KINDS, Edit, edited, rows_of
from handloom.data.examples import RelationExample, TokenExample
from handloom.data.readers import read
from handloom.data.split import split
from handloom.data.texts import ORIGIN, AnyExample
from handloom.errors import HandloomError, UsageError
from handloom.text.schemes import Scheme
from handloom.text.spans import Span, spans_of_tags

TAGGED = [
    (["Marie", "Curie", "worked", "in", "Paris", "."], ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]),
    (["Bob", "lives", "in", "New", "York", "City", "now"], ["B-PER", "O", "O", "B-LOC", "I-LOC", "I-LOC", "O"]),
    (["nothing", "happened", "there"], ["O", "O", "O"]),
    (["Anna", "met", "Bob"], ["B-PER", "O", "B-PER"]),
]
CHARACTERS = [(list("王小明在北京"), ["B-NAME", "M-NAME", "E-NAME", "O", "B-LOC", "E-LOC"]),
              (list("李四去上海"), ["B-NAME", "E-NAME", "O", "B-LOC", "E-LOC"])]  # fmt: skip
RAW = [("Marie Curie worked in Paris 🙂.", [[0, 11, "PER"], [22, 27, "LOC"]]),
       ("Bob saw Rome", [[0, 3, "PER"], [8, 12, "LOC"]])]  # fmt: skip


QUESTIONS = [("Which capital is meant?", "Many people like Paris, which isn't Parisian enough.", "Paris"),
             {"question": "Where was nobody?", "context": "Nothing about that.", "answers": []}]  # fmt: skip
CHOICES = [{"context": "The opposite of something", "question": "what is right", "choices": ["1", "0", "both"],
            "answer": "0"}]  # fmt: skip
PAIRS = [("some text here", "another text there", 0.5), ("more words", "other words", 0.25)]
CHATS = [[{"role": "system", "content": "Answer shortly."}, {"role": "user", "content": "Where is the station?"},
          {"role": "assistant", "content": "Over there."}, {"role": "user", "content": "thanks kindly"},
          {"role": "assistant", "content": "Welcome."}]]  # fmt: skip


def whole(example: TokenExample, scheme: Scheme) -> None:
    """Offsets, words, tags and spans of an example say the same."""
    assert example.spans is not None
    assert all(example.text[span.start : span.end] == span.text for span in example.spans)
    if example.words is not None and example.tags is not None:
        assert all(example.text[a:b].strip() == example.text[a:b] != "" for a, b in example.words)
        assert list(example.words) == sorted(example.words)
        assert tuple(spans_of_tags(example.text, example.words, example.tags, scheme)) == example.spans
        assert "".join(example.text[a:b] for a, b in example.words) == "".join(example.text.split())


@pytest.mark.parametrize("rows", [TAGGED, CHARACTERS, RAW], ids=["words", "characters", "raw"])
@pytest.mark.parametrize("name", ["mention", "typo"])
def test_copies_are_labelled_as_their_originals(rows: Any, name: str) -> None:
    data = read(rows, "token-classification")
    found = augmented(data, plain_ways(data, [name]), times=3, seed=1)
    copies = found.examples[len(rows) :]
    assert found.examples[: len(rows)] == data.examples
    assert bool(copies) == (name == "mention" or rows is not CHARACTERS)  # typos are of Latin letters
    texts = {example.text: example for example in data}
    for copy in copies:
        whole(copy, found.scheme)
        origin = texts[copy.extra[ORIGIN]]
        assert copy.text != origin.text and copy.labels == origin.labels
        if name == "mention":  # all else stands as it stood
            other = {span.text for example in data for span in example.spans}
            assert {span.text for span in copy.spans} <= other
    assert f"augmentation by {name}: {len(copies)} copies of {len(rows)} examples" in found.notes[-1]


def test_the_same_seed_gives_the_same_copies_and_none_twice() -> None:
    data = read(TAGGED, "token-classification")
    ways = plain_ways(data, ["mention", "typo"])
    once = augmented(data, ways, times=4, seed=3)
    assert once == augmented(data, ways, times=4, seed=3) != augmented(data, ways, times=4, seed=4)
    assert len({example.text for example in once}) == len(once)
    again = augmented(once, plain_ways(once, ["typo"]), seed=5)  # copies of copies are of the first text, too
    assert {example.extra[ORIGIN] for example in again if ORIGIN in example.extra} <= set(data.texts)


def test_a_copy_never_crosses_a_split() -> None:
    data = read([(f"text number {'abcdefghij'[i]} holds words", "yes" if i % 2 else "no") for i in range(10)])
    found = augmented(data, plain_ways(data, ["typo"]), times=3)
    before, _ = split(data, (0.7, 0.3), seed=2)
    kept, held = split(found, (0.7, 0.3), seed=2)
    sides = [{example.extra.get(ORIGIN, example.text) for example in side} for side in (kept, held)]
    assert not sides[0] & sides[1] and len(held) > 3
    assert {example.text for example in before} == sides[0]  # copies move nobody
    pairs = read([("one text here", "first pair", "a"), ("one text here", "second pair", "a")])
    copies = augmented(pairs, plain_ways(pairs, ["typo"]), times=2)
    kept, held = split(copies, (0.5, 0.5))
    assert not {example.pair for example in kept} & {example.pair for example in held}


def test_edits_move_all_that_is_behind_them() -> None:
    relation = RelationExample("a big pump feeds the boiler", (6, 10), (21, 27), "feeds")
    found = edited(relation, [Edit(2, 5, "very large"), Edit(11, 16, "")])
    assert found.text == "a very large pump  the boiler"
    assert [found.text[slice(*place)] for place in (found.first, found.second)] == ["pump", "boiler"]
    example = TokenExample("ab cd", ((0, 2), (3, 5)), ("B-X", "O"), (Span(0, 2, "X", "ab"),))
    longer = edited(example, [Edit(0, 2, "x y z")], Scheme())
    assert longer.tags == ("B-X", "I-X", "I-X", "O") and longer.words == ((0, 1), (2, 3), (4, 5), (6, 8))
    assert edited(example, [], Scheme()) == example


def test_what_is_to_be_written_or_chosen_stays() -> None:
    data = read(QUESTIONS, "question-answering")
    found = augmented(data, {"typo": typos(data, 1.0)}, times=6)
    for copy in found.examples[2:]:
        assert copy.extra[ORIGIN] in [example.context for example in data]
        if copy.answers:
            [said] = copy.answer_texts
            assert said.startswith("P") and 4 <= len(said) <= 6 and copy.context[: copy.answers[0][0]].endswith(" ")
            assert copy.context[copy.answers[0][1]] == ","
    assert len({copy.question for copy in found}) > 6 and len({copy.context for copy in found}) > 6
    sides = split(augmented(data, {"typo": typos(data)}, times=3), (0.5, 0.5))
    assert all(len({e.extra.get(ORIGIN, e.context) for e in side}) == 1 for side in sides)

    chats = read(CHATS, "text-generation")
    for copy in augmented(chats, {"typo": typos(chats, 1.0)}, times=3).examples[1:]:
        same = [one.content == old.content for one, old in zip(copy.turns, chats[0].turns, strict=True)]
        assert same == [True, False, True, False, True]
    way = back_translation(data, lambda ts: [t.upper() for t in ts], lambda ts: [f"{t}\n!" for t in ts])
    again = augmented(data, {"back-translation": way})
    assert [e.question for e in again][2:] == ["WHICH CAPITAL IS MEANT? !", "WHERE WAS NOBODY? !"]
    assert [(e.context, e.answer_texts) for e in again][2:] == [(e.context, e.answer_texts) for e in data]
    pairs = read([("ab", "cd", "ef"), ("gh", "ij", "kl")], "sentence-similarity")
    way = back_translation(pairs, lambda ts: ts, lambda ts: [t * (t != "cd") + "." * (t != "cd") for t in ts])
    [first, second] = augmented(pairs, {"back-translation": way}).examples[2:]
    assert (first.text, first.other, first.negative) == ("ab.", "cd", "ef.") and second.parts == ("gh.", "ij.", "kl.")
    choices = read(CHOICES, "multiple-choice")
    [copy] = augmented(choices, {"typo": typos(choices, 1.0)}).examples[1:]
    assert copy.choices == ("1", "0", "both") and copy.answer == choices[0].answer and copy.question != "what is right"


def test_every_kind_of_example_can_be_copied() -> None:
    assert set(KINDS) == set(get_args(AnyExample))


def test_words_of_a_list_stand_for_each_other_outside_of_spans() -> None:
    rows = [("The car of Paris met a motor car.", [[11, 16, "LOC"]]), ("Paris", [[0, 5, "LOC"]])]
    data = read(rows, "token-classification")
    way = synonyms(data, "car, automobile\nmotor car\tcoach\nParis, Rome\n", "words.txt", share=1.0)
    found = augmented(data, {"synonym": way})
    assert [example.text for example in found][2:] == ["The automobile of Paris met a coach."]
    assert found[2].spans == (Span(18, 23, "LOC", "Paris"),)
    chinese = read([("他的汽车很快", "yes"), ("没有", "no")])
    found = augmented(chinese, {"synonym": synonyms(chinese, "汽车，轿车", "w", share=1.0)})
    assert [example.text for example in found][2:] == ["他的轿车很快"]
    with pytest.raises(HandloomError, match=r"w\.txt:2: 'alone' stands alone"):
        synonyms(data, "a, b\nalone", "w.txt")
    with pytest.raises(HandloomError, match="no words"):
        synonyms(data, "\n", "w.txt")


def test_a_model_guesses_words_outside_of_spans() -> None:
    data = read(TAGGED, "token-classification")
    asked: list[str] = []

    def guess(texts: list[str]) -> list[list[list[str]]]:
        asked.extend(texts)
        return [[["worked", "danced", "."]] * text.count("[MASK]") for text in texts]

    found = augmented(data, {"infill": infill(data, "[MASK]", guess)})
    assert all(text.count("[MASK]") == 1 for text in asked) and len(asked) == 4
    for copy in found.examples[4:]:
        whole(copy, found.scheme)
        assert {"danced", "worked"} & set(copy.text.split())
        assert {span.text for span in copy.spans} <= {span.text for example in data for span in example.spans}


def test_texts_are_written_anew_only_where_no_place_is_lost() -> None:
    data = read([("a good film", "pos"), ("a bad film", "neg")])
    way = back_translation(data, lambda texts: [t.upper() for t in texts], lambda texts: [t + " INDEED" for t in texts])
    found = augmented(data, {"back-translation": way})
    assert [(e.text, e.label) for e in found][2:] == [("A GOOD FILM INDEED", "pos"), ("A BAD FILM INDEED", "neg")]
    same = augmented(data, {"back-translation": back_translation(data, lambda t: t, lambda t: t)})
    assert len(same) == 2 and "2 like another" in same.notes[-1]
    silent = back_translation(data, lambda ts: [t * ("good" in t) for t in ts], lambda ts: [t + "!" for t in ts])
    mute = augmented(data, {"back-translation": silent})  # of one text the translator says nothing
    assert [e.text for e in mute][2:] == ["a good film!"] and "1 without anything to replace" in mute.notes[-1]
    with pytest.raises(UsageError, match="where labelled places stand in them is lost"):
        back_translation(read(TAGGED, "token-classification"), lambda t: t, lambda t: t)


def test_slips_are_near() -> None:
    assert set(BESIDE["s"]) == set("adwezx") and set(BESIDE["q"]) == set("wa") and set(BESIDE["p"]) == set("ol")
    rng = np.random.default_rng(0)
    for word in ("Book", "aaaa", "QUIZ", "letters"):
        for _ in range(40):
            slip = mistyped(word, rng)
            assert slip != word and slip[0] == word[0] and abs(len(slip) - len(word)) <= 1


def test_what_makes_no_sense_is_refused() -> None:
    texts = read([("a text", "x"), ("another", "y")])
    with pytest.raises(UsageError, match="mention replaces names"):
        mentions(texts)
    with pytest.raises(UsageError, match="there is no augmentation 'infill' in a training"):
        plain_ways(texts, ["infill"])
    with pytest.raises(UsageError, match="times is 0"):
        augmented(texts, {"typo": typos(texts)}, times=0)
    whole = augmented(read(["a text to be learnt as it is"], "text-generation"), {"typo": typos(texts)})
    assert len(whole) == 1 and "1 without anything to replace" in whole.notes[-1]
    nothing = augmented(read(CHARACTERS, "token-classification"), {"typo": typos(texts)})
    assert len(nothing) == 2 and "2 without anything to replace" in nothing.notes[-1]


@pytest.mark.parametrize(
    ("task", "rows"),
    [("token-classification", TAGGED), ("token-classification", CHARACTERS), ("token-classification", RAW),
     ("text-classification", [("some text here", "a"), ("some other text", "b")]),
     ("relation-extraction",
      [("a <e1>pump</e1> feeds the <e2>boiler</e2>", "feeds"), ("a <e1>x</e1> <e2>y</e2>", "no")]),
     ("question-answering", QUESTIONS), ("multiple-choice", CHOICES), ("sentence-similarity", PAIRS),
     ("sentence-similarity", [("some text", "another text"), ("more words", "other words")]),
     ("sentence-similarity", [("some text", "another text", "wrong words"), ("more words", "other words", "nothing")]),
     ("translation", [("some text here", "ein Text"), ("more of them", "mehr davon")]),
     ("text-generation", CHATS), ("text-generation", [{"prompt": "Once upon", "completion": " a time"}])],
)  # fmt: skip
def test_what_is_written_is_read_again(task: str, rows: Any, tmp_path: Path) -> None:
    data = read(rows, task)
    found = augmented(data, {"typo": typos(data, 0.5)}, times=2)
    file = tmp_path / "more.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(found)), "utf-8")
    again = read(file, task)
    assert [example.parts for example in again] == [example.parts for example in found]
    assert [example.labels for example in again] == [example.labels for example in found]
    assert [example.verdict for example in again] == [example.verdict for example in found]
    assert [example.extra.get(ORIGIN) for example in again] == [example.extra.get(ORIGIN) for example in found]
    assert (len(again) > len(data) or rows is CHARACTERS) and again[0].extra == {}
