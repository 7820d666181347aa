"""Schemas, patterns, choices and words on tiny random models, against Python's re and json."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markov import Markov
from tiny import write

from handloom.errors import HandloomError, UsageError
from handloom.generate.generator import Writer
from handloom.generate.grammar import Vocabulary, of_choices, of_pattern, of_schema
from handloom.generate.phrases import Phrases
from handloom.text.token_bytes import token_bytes
from handloom.text.tokenizer import Tokenizer
from handloom.text.vocabularies import learn

CORPUS = ['the cat sat on 0123456789 "mats" {and} [dogs]: a, b; 你好 坏人 -.@_/ Paris ABCDEFGHIJKLMNOPQRSTUVWXYZ\n'] * 4
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
KINDS = ("bpe", "unigram", "character", "wordpiece")


@cache
def vocabulary_of(kind: str) -> Tokenizer:
    return learn(kind, CORPUS, "gpt", {"bpe": 290, "wordpiece": 200}.get(kind, 120))


@cache
def markov(kind: str, more: int = 0, ends: bool = True) -> Writer:
    """A generator without an engine behind it, and a vocabulary of this kind; more: columns of the logits."""
    tokenizer = vocabulary_of(kind)
    return Writer(Markov(tokenizer.size + more), tokenizer, frozenset({0} if ends else ()))


@pytest.fixture(scope="module")
def byte_level() -> Writer:
    return markov("bpe")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    return Writer.from_pretrained(write(tmp_path_factory.mktemp("tiny-llama")))


def holds(value: Any) -> bool:
    return list(value) == ["name", "age"] and len(value["name"]) <= 8 and 0 <= value["age"] <= 99


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_of_tokens_are_the_text_that_decoding_gives(kind: str) -> None:
    tokenizer = vocabulary_of(kind)
    spelt = token_bytes(tokenizer)
    assert spelt[0] is None and len(spelt) == tokenizer.size
    text = "the cat sat on a mats"
    ids = tokenizer.ids(text, frame=False).tolist()
    assert b"".join(spelt[i] or b"?" for i in ids).decode().removeprefix(" ") == tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_vocabulary_keeps_to_every_kind_of_grammar(kind: str) -> None:
    generator, how = markov(kind), {"temperature": 1.3, "samples": 4, "max_new_tokens": 12}
    prompt = np.array([1], np.int32)
    if kind == "wordpiece":  # a quotation mark before a name has a space behind it
        with pytest.raises(HandloomError, match="cannot spell a text of the schema"):
            generator.constraint(schema=SCHEMA)
    for found in generator.generate(prompt, schema=SCHEMA, **how) if kind != "wordpiece" else ():
        assert found.finish in ("end", "closed") and holds(found.value) and json.loads(found.text) == found.value
    for found in generator.generate(prompt, pattern=r"(the|cat)[ ]?[0-4]{2,5}", **how):
        assert re.fullmatch(r"(the|cat)[ ]?[0-4]{2,5}", found.text) and found.value is None
    choices = ["the cat", "cat", *(["Paris 好"] if kind != "wordpiece" else [])]
    assert {found.text for found in generator.generate(prompt, choices=choices, **how)} <= set(choices)


def test_greedy_sampled_streamed_and_beams(llama: Writer, byte_level: Writer) -> None:
    for generator, prompt in ((byte_level, np.array([1], np.int32)), (llama, "the cat")):
        rule = generator.constraint(pattern="(the |on )*[a-d]{3}")
        how = {"constraint": rule, "max_new_tokens": 9}
        greedy = generator.generate(prompt, **how)
        assert re.fullmatch("(the |on )*[a-d]{3}", greedy.text)
        assert "".join(generator.stream(prompt, **how)) == greedy.text
        drawn = [generator.generate(prompt, temperature=2.0, seed=seed, **how) for seed in (1, 1, 2, 3)]
        assert drawn[0] == drawn[1] and len({found.text for found in drawn}) > 1
        best = generator.beams(prompt, beams=3, **how)
        assert all(re.fullmatch("(the |on )*[a-d]{3}", found.text) for found in best)
        scores = [found.score for found in best]
        assert scores == sorted(scores, reverse=True)


def test_rows_of_a_batch_have_constraints_of_their_own(llama: Writer) -> None:
    rules = [llama.constraint(choices=["cat", "dog"]), None, llama.constraint(pattern="[a-c]{4}")]
    how = {"max_new_tokens": 8, "temperature": 1.0, "seed": 3}
    both = llama.generate(["the", "the", "dog"], constraint=rules, **how)
    alone = [llama.generate(p, constraint=rule, **how) for p, rule in zip(["the", "the", "dog"], rules, strict=True)]
    assert both == alone
    assert both[0].text in ("cat", "dog") and re.fullmatch("[a-c]{4}", both[2].text)
    with pytest.raises(UsageError, match="2 prompts and 3 constraints: one"):
        llama.generate(["a", "b"], constraint=rules)


def test_what_has_no_room_is_closed_and_says_so(byte_level: Writer) -> None:
    prompt = np.array([1], np.int32)
    closed = byte_level.generate(prompt, schema=SCHEMA, max_new_tokens=3)
    assert closed.finish == "closed" and holds(closed.value) and len(closed.ids) > 3
    cut = byte_level.generate(prompt, schema=SCHEMA, max_new_tokens=3, close=False)
    assert cut.finish == "length" and cut.value is None and closed.ids[:3] == cut.ids
    assert "".join(byte_level.stream(prompt, schema=SCHEMA, max_new_tokens=3)) == closed.text
    assert all(holds(found.value) for found in byte_level.beams(prompt, schema=SCHEMA, max_new_tokens=3))


def test_a_model_that_knows_no_end_ends_where_nothing_more_may_come() -> None:
    generator = markov("bpe", ends=False)
    prompt = np.array([1], np.int32)
    for found in (generator.generate(prompt, pattern="[ab]{3}"), *generator.beams(prompt, pattern="[ab]{3}")):
        assert found.finish == "end" and re.fullmatch("[ab]{3}", found.text)


def test_a_space_before_the_text_is_allowed_and_not_part_of_it(byte_level: Writer) -> None:
    vocabulary = byte_level.vocabulary
    space = vocabulary.cut(b" ")[0]
    assert of_choices(vocabulary, ["cat"]).start().allowed(9)[space]
    assert of_pattern(vocabulary, "cat").start().allowed(9)[space]
    spaced = byte_level.generate(np.array([1], np.int32), pattern="[ ]cat|[ ]dog")
    assert spaced.text in (" cat", " dog")
    assert byte_level.generate(np.array([1], np.int32), choices=[" cat", " dog"]).text in (" cat", " dog")


class Pydantic:
    @staticmethod
    def model_json_schema() -> dict[str, Any]:
        return {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}


def test_schemas_come_as_dicts_files_and_classes(byte_level: Writer, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    prompt = np.array([1], np.int32)
    assert holds(byte_level.generate(prompt, schema=tmp_path / "s.json", max_new_tokens=5).value)
    assert byte_level.generate(prompt, schema=Pydantic).value == {"a": 1}
    for wrong, message in (("no.json", "no file"), (3, "JSON object"), ({"const": {1, 2}}, "no JSON")):
        with pytest.raises(HandloomError, match=message):
            byte_level.generate(prompt, schema=wrong)
    (tmp_path / "bad.json").write_text("[" * 100_000)
    with pytest.raises(HandloomError, match=r"bad\.json"):
        byte_level.generate(prompt, schema=tmp_path / "bad.json")


def doubled(times: int) -> dict[str, Any]:
    """A schema of few objects, each of which stands in the next one twice."""
    found: dict[str, Any] = {"type": "string"}
    for _ in range(times):
        found = {"anyOf": [found, {"type": "array", "items": found}]}
    return found


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "string", "minlength": 3}, "'minlength' at \\$ is not supported"),
        ({"items": {"type": "array", "uniqueItems": True}}, "'uniqueItems' at \\$.items"),
        ({"type": "string", "format": "iban"}, "format 'iban'"),
        ({"const": 2**60}, "beyond"),
        ({"type": "integer", "multipleOf": 99991}, "multipleOf 99991"),
        ({"type": "object", "minProperties": 5}, "minProperties 5"),
        ({"$ref": "http://x/y"}, "must lead into the schema itself"),
        ({"$ref": "#/$defs/a"}, "leads nowhere"),
        ({"$ref": "#"}, "no text that ends was found, of up to 4,096 bytes"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "no text"),
        ({"type": "array", "minItems": 1_000_000, "items": {"type": "null"}}, "of up to 4,096 bytes"),
        ({"enum": []}, "anyOf is empty"),
        ({"enum": [f"w{i}" for i in range(200_000)]}, "characters that a schema may have"),
        (doubled(60), "characters that a schema may have"),
        ({"anyOf": "x"}, "wrong type"),
    ],
)
def test_schemas_that_are_refused(byte_level: Writer, schema: Any, message: str) -> None:
    with pytest.raises(HandloomError, match=message):
        of_schema(byte_level.vocabulary, schema)


@pytest.mark.parametrize("kind", ["integer", "number", "string", "boolean"])
def test_a_long_array_is_ended(byte_level: Writer, kind: str) -> None:
    schema = {"type": "array", "items": {"type": kind}, "minItems": 800, "maxItems": 800}
    constraint = of_schema(byte_level.vocabulary, schema)
    tokens = constraint.start().completion()
    assert tokens is not None and len(json.loads(constraint.text(tokens))) == 800


def test_a_schema_as_deep_as_a_well(byte_level: Writer) -> None:
    schema: Any = {"type": "null"}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    with pytest.raises(HandloomError, match="nested"):
        of_schema(byte_level.vocabulary, schema)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("a{1000000}", "refused"), ("(?=a)b", "refused"), (r"(a)\1", "backreferences"), ("a" * 70_000, "characters"),
     ("(", "refused"), ("", "one character or more"), ("a{5000}", "no text that ends was found, of up to 4,096 bytes")],
)  # fmt: skip
def test_patterns_that_are_refused(byte_level: Writer, pattern: str, message: str) -> None:
    with pytest.raises(HandloomError, match=message) as error:
        of_pattern(byte_level.vocabulary, pattern)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("pattern", ["((a{1,10}){1,10}){1,10}", "((a+)+)+b", "(a|b)*a(a|b){100}", "a{1,1000}"])
def test_patterns_that_would_explode_elsewhere(byte_level: Writer, pattern: str) -> None:
    found = byte_level.generate(np.array([1], np.int32), pattern=pattern, max_new_tokens=4)
    assert re.fullmatch("[ab]+", found.text)


@pytest.mark.parametrize(
    "pattern",
    ["((a{1,1000}){1,1000}){1,1000}", "(a{1,1000}){1,1000}", "(a{1,100}){1,100}", ".*(a{1,1000}){1,1000}",
     "(.{0,500} ){0,10}"],
)  # fmt: skip
def test_what_would_grow_too_large_while_it_is_written_is_refused_before(byte_level: Writer, pattern: str) -> None:
    with pytest.raises(HandloomError, match="the pattern is refused: it grows too large while a text of it is written"):
        of_pattern(byte_level.vocabulary, pattern)


def test_so_is_a_schema_with_such_a_pattern(byte_level: Writer) -> None:
    with pytest.raises(HandloomError, match="the schema is refused: it grows too large while a text of it is written"):
        of_schema(byte_level.vocabulary, {"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"})


@pytest.mark.parametrize(
    "pattern",
    [r"\d{4}-\d{2}-\d{2}", r"[\w.+-]+@[\w-]+\.[\w.-]+", r"(\w+ ){0,50}\w+", r"(- .{1,200}\n){1,20}", ".{1,4000}"],
)
def test_ordinary_patterns_are_not(byte_level: Writer, pattern: str) -> None:
    of_pattern(byte_level.vocabulary, pattern)


def test_strings_and_arrays_with_large_bounds_are_not_refused(byte_level: Writer) -> None:
    words = {"type": "array", "items": {"type": "string", "maxLength": 3000}, "maxItems": 1000}
    of_schema(byte_level.vocabulary, {"type": "object", "properties": {"words": words, "text": {"maxLength": 5000}}})


@pytest.mark.parametrize(
    ("pattern", "words", "named"),
    [("[a-z ]{1,20}", {"required": ["CAT"]}, "'CAT' required is refused: there is no such text"),
     ("cat|dog", {"forbidden": ["cat", "dog"]}, "'cat', 'dog' forbidden is refused: no text that ends was found"),
     ("[a-z]{2}", {"required": ["cat"], "forbidden": ["x"]}, "'cat' required and 'x' forbidden is refused: there")],
)  # fmt: skip
def test_a_pattern_that_words_leave_nothing_of(byte_level: Writer, pattern: str, words: Any, named: str) -> None:
    with pytest.raises(HandloomError, match=f"^the pattern with {named}"):
        byte_level.constraint(pattern=pattern, **words)


@pytest.mark.parametrize("pattern", ["the .*", ".*dog", ".*(cat|dog)"])
def test_a_required_word_is_tried_at_either_end_of_a_pattern(byte_level: Writer, pattern: str) -> None:
    found = byte_level.generate(np.array([1], np.int32), pattern=pattern, required=["cat"], max_new_tokens=3)
    assert re.fullmatch(pattern, found.text, re.DOTALL) and re.search(r"(?<!\w)cat(?!\w)", found.text)


def test_what_takes_too_much_time_is_ended(byte_level: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handloom.generate.grammar.SECONDS", 1)
    also = ["/(.*b.{20}.*)/", "~/(.*c.{20}.*)/"]  # their intersection has millions of states
    with pytest.raises(HandloomError, match="more time or memory"):
        of_pattern(byte_level.vocabulary, "(.*a.{20}.*)", also)


def test_one_grammar_and_no_stop_string(byte_level: Writer) -> None:
    prompt = np.array([1], np.int32)
    for wrong, message in (
        ({"schema": SCHEMA, "pattern": "a"}, "schema and pattern were given"),
        ({"pattern": "a", "stop": "b"}, "stop string"),
        ({"schema": SCHEMA, "required": ["a"]}, "beside a schema"),
        ({"choices": []}, "list of one text"),
        ({"choices": "abc"}, "list of one text"),
        ({"forbidden": "abc"}, "list of texts"),
        ({"required": ["Yes", "no"], "forbidden": [" yes "]}, "required and forbidden at once: yes"),
        ({"choices": ["cat"], "forbidden": ["cat"]}, "none of the choices"),
    ):
        with pytest.raises(UsageError if "none" not in message else HandloomError, match=message):
            byte_level.generate(prompt, **wrong)


def test_a_vocabulary_that_cannot_spell_it_is_refused() -> None:
    generator = Writer(Markov(30), learn("character", ["abc"], "gpt", 30))
    with pytest.raises(HandloomError, match="cannot spell"):
        generator.constraint(choices=["xyz"])


@pytest.mark.parametrize(
    ("phrases", "forbidden", "text", "found"),
    [
        (["art"], True, "part of it", ()), (["art"], True, "an Artist", (0,)), (["art"], False, "an artist", ()),
        (["art"], False, "an art", (0,)), (["art", "it is"], False, "art: it\nis", (0, 1)),
        (["坏人"], True, "大坏人啊", (0,)),
        (["École"], True, "à l’école", (0,)), (["a.b"], False, "(a.b)", (0,)), (["a"], False, "", ()),
    ],
)  # fmt: skip
def test_phrases_are_found_as_words(phrases: list[str], forbidden: bool, text: str, found: tuple[int, ...]) -> None:
    assert Phrases(phrases, forbidden).found(text) == frozenset(found)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "character"])
def test_forbidden_words_come_in_no_casing_and_no_tokens(kind: str) -> None:
    words = ["a", "THE", "坏人", "on 0"]
    generator, how = markov(kind), {"temperature": 1.5, "samples": 6, "max_new_tokens": 40}
    phrases, prompt = Phrases(words, forbidden=True), np.array([1], np.int32)
    read = generator.vocabulary
    assert any(phrases.found(read.bytes_of(x.ids)) for x in generator.generate(prompt, **how))
    for found in generator.generate(prompt, forbidden=words, **how):
        assert not phrases.found(read.bytes_of(found.ids))


@pytest.mark.parametrize("kind", ["bpe", "unigram", "character"])
def test_required_words_come_whatever_the_room(kind: str) -> None:
    words, prompt = ["cat", "the dogs", "你好"], np.array([1], np.int32)
    generator, phrases = markov(kind), Phrases(words)
    needed = sum(len(generator.vocabulary.cut(b" " + word.encode())) for word in words) + 3
    for most in (needed, needed + 7, 60):
        samples = generator.generate(prompt, required=words, max_new_tokens=most, temperature=1.0, samples=4)
        beams = generator.beams(prompt, required=words, max_new_tokens=most, beams=4)
        for found in (*samples, *beams):
            text = generator.vocabulary.bytes_of(found.ids)
            assert len(phrases.found(text)) == 3, text
    with pytest.raises(HandloomError, match="room for 2 tokens"):
        generator.generate(prompt, required=words, max_new_tokens=2)


def test_words_and_grammars_together(byte_level: Writer) -> None:
    prompt, how = np.array([1], np.int32), {"temperature": 1.5, "samples": 8, "max_new_tokens": 10}
    for found in byte_level.generate(prompt, pattern="(cat|dog)( (cat|dog))*", forbidden=["CAT"], **how):
        assert re.fullmatch("dog( dog)*", found.text)
    for found in byte_level.generate(prompt, pattern="(cat|dog)( (cat|dog))*", required=["cat"], **how):
        assert "cat" in found.text.split()
    for found in byte_level.generate(prompt, schema=SCHEMA, forbidden=["b", "t"], **how):
        assert holds(found.value) and not Phrases(["b", "t"], True).found(found.text)
    assert byte_level.generate(prompt, choices=["a cat", "a dog"], forbidden=["cat"]).text == "a dog"


def test_the_shortest_end_is_found(byte_level: Writer) -> None:
    vocabulary = byte_level.vocabulary
    for pattern, text in (("a.*?b", b"ab"), ("<[a-z]+>x</[a-z]+>", b"<a>x</a>"), ("[0-9]{3}-x|long one", b"000-x")):
        found = of_pattern(vocabulary, pattern).start().completion()
        assert found is not None and len(vocabulary.bytes_of(found)) == len(text)
    chain = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
             "required": ["next"], "additionalProperties": False}  # fmt: skip
    assert vocabulary.bytes_of(of_schema(vocabulary, chain).start().completion() or []) == b'{"next":null}'
    quoted = {"type": "array", "prefixItems": [{"enum": ['a "', "b\\"]}, {"minimum": 1983}], "minItems": 2}
    found = of_schema(vocabulary, quoted).start().completion()
    assert json.loads(vocabulary.bytes_of(found or []))[0] in ('a "', "b\\")


def test_ids_beyond_the_tokenizer_never_come() -> None:
    generator = markov("bpe", more=40)
    assert isinstance(generator.vocabulary, Vocabulary) and generator.vocabulary.spelt[-1] is None
    found = generator.generate(np.array([1], np.int32), pattern="[a-z ]{5,9}", temperature=3.0, samples=4)
    assert all(re.fullmatch("[a-z ]{5,9}", x.text) for x in found)


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"format": "time"}, ["00:45:59z", "23:59:00.5+01:00"], ["00:45:60z", "23:59:60Z", "24:00:00Z"]),
        ({"format": "date"}, ["2004-02-29", "2000-02-29", "1999-12-31", "0001-02-28"],
         ["2001-02-29", "1900-02-29", "0000-01-01", "2000-04-31"]),
        ({"format": "date", "pattern": "^2"}, ["2004-02-29"], ["2001-02-29", "1904-02-29"]),
        ({"format": "date-time"}, ["2000-01-01T00:45:09z"], ["2000-01-01T00:45:60z", "2001-02-29T00:45:09z"]),
    ],
)  # fmt: skip
def test_days_and_seconds_that_there_are(schema: dict[str, str], right: list[str], wrong: list[str]) -> None:
    vocabulary = markov("bpe").vocabulary
    grammar = of_schema(vocabulary, {"type": "string", **schema})

    def holds(text: str) -> bool:
        matcher = grammar.matcher.deep_copy()
        return bool(matcher.consume_tokens(vocabulary.cut(json.dumps(text).encode())) and matcher.is_accepting())

    assert [text for text in (*right, *wrong) if holds(text)] == right
