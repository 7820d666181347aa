"""Texts under random JSON Schemas: are all of them valid, and what does a constraint cost?

    python -m benchmarks.constrained MODEL.gguf --schemas 1000
    python -m benchmarks.constrained MODEL.gguf --speed

Schemas are drawn from a seed: objects with required and optional properties, arrays, enums, constants, strings with
lengths, patterns and formats, numbers with ranges, booleans, null, anyOf, and $ref. `jsonschema` judges the texts,
formats included where it has what it needs (date-time and time: `rfc3339-validator`). The model draws them with
temperature 1, so that they are as odd as it can make them.
"""

from __future__ import annotations

import collections
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.figures import begin, keep, options, shown, spread
from handloom.errors import HandloomError
from handloom.generate.constraints import Constraint
from handloom.generate.generator import Writer

PATTERNS = (
    r"^[A-Z]{2}-[0-9]{4}$", r"^[a-z]+(_[a-z]+)*$", r"[aeiou]{2}", r"^(red|green|blue)( (light|dark))?$", r"^\d{5}$",
)  # fmt: skip
FORMATS = ("date", "date-time", "email", "ipv4", "uuid", "time")
NAMES = ("name", "age", "city", "tags", "price", "id", "active", "地址", "kind of thing", "x", "y", "notes", "é")
WORDS = ("red", "green", "blue", "Paris", "東京", "a b", 'quote "', "back\\slash", "", 1, 2.5, -3, True, False, None)
PROMPT = "Write one example of the data as JSON."
MOST_TIMES = 1.15


def schema(rng: np.random.Generator) -> dict[str, Any]:
    """A random schema, with definitions that it may refer to."""
    definitions = {f"d{i}": value(rng, 1, ()) for i in range(rng.integers(0, 3))}
    found = compound(rng, 3, tuple(definitions))
    if definitions:
        found["$defs"] = definitions
    return found


def compound(rng: np.random.Generator, depth: int, refs: tuple[str, ...]) -> dict[str, Any]:
    if rng.random() < 0.25:
        least = int(rng.integers(0, 3))
        return {"type": "array", "items": value(rng, depth - 1, refs), "minItems": least,
                "maxItems": least + int(rng.integers(0, 4))}  # fmt: skip
    names = [NAMES[i] for i in rng.permutation(len(NAMES))[: rng.integers(1, 6)]]
    found: dict[str, Any] = {"type": "object", "properties": {name: value(rng, depth - 1, refs) for name in names},
                             "required": [name for name in names if rng.random() < 0.7]}  # fmt: skip
    more = rng.random()
    if more < 0.7:
        found["additionalProperties"] = False
    elif more < 0.85:
        found["additionalProperties"] = {"type": "integer"}
    return found


def value(rng: np.random.Generator, depth: int, refs: tuple[str, ...]) -> dict[str, Any]:
    kind = rng.choice(["compound", "string", "number", "integer", "enum", "boolean", "null", "anyOf", "ref", "const"],
                      p=[0.2, 0.25, 0.1, 0.12, 0.1, 0.07, 0.03, 0.06, 0.04, 0.03])  # fmt: skip
    if kind == "compound" and depth > 0:
        return compound(rng, depth, refs)
    if kind == "anyOf" and depth > 0:
        return {"anyOf": [value(rng, depth - 1, refs) for _ in range(rng.integers(2, 4))]}
    if kind == "ref" and refs:
        return {"$ref": f"#/$defs/{rng.choice(refs)}"}
    if kind == "enum":
        return {"enum": [WORDS[i] for i in rng.permutation(len(WORDS))[: rng.integers(1, 6)]]}
    if kind == "const":
        return {"const": WORDS[rng.integers(len(WORDS))]}
    if kind in ("boolean", "null"):
        return {"type": str(kind)}
    if kind in ("number", "integer"):
        low, high = sorted(int(x) for x in rng.integers(-1000, 10_000, 2))
        bounds = {"minimum": low, "maximum": high + 1} if rng.random() < 0.6 else {}
        return {"type": str(kind), **bounds}
    return string(rng)


def string(rng: np.random.Generator) -> dict[str, Any]:
    form = rng.integers(4)
    if form == 0:
        return {"type": "string", "pattern": str(rng.choice(PATTERNS))}
    if form == 1:
        return {"type": "string", "format": str(rng.choice(FORMATS))}
    least = int(rng.integers(0, 6))
    return {"type": "string", "minLength": least, "maxLength": least + int(rng.integers(0, 30))} if form == 2 else {
        "type": "string"}  # fmt: skip


def check(generator: Writer, count: int, batch: int, most: int, seed: int) -> dict[str, Any]:
    from jsonschema import Draft202012Validator

    rng = np.random.default_rng(seed)
    prompt = [{"role": "user", "content": PROMPT}]
    tally: collections.Counter[str] = collections.Counter()
    compiling = []
    for first in range(0, count, batch):
        rules: list[Constraint] = []
        schemas: list[dict[str, Any]] = []
        while len(rules) < min(batch, count - first):
            drawn = schema(rng)
            before = time.perf_counter()
            try:
                rules.append(generator.constraint(schema=drawn))
            except HandloomError as error:
                tally["refused: " + str(error)[:60]] += 1
                continue
            compiling.append(time.perf_counter() - before)
            schemas.append(drawn)
        found = generator.generate([prompt] * len(rules), constraint=rules, max_new_tokens=most, temperature=1.0,
                                   seed=seed + first)  # fmt: skip
        for own, one in zip(schemas, found, strict=True):
            tally[one.finish] += 1
            problems = ["not whole"] if one.finish not in ("end", "closed") else [
                error.message for error in
                Draft202012Validator(own, format_checker=Draft202012Validator.FORMAT_CHECKER).iter_errors(one.value)
            ]  # fmt: skip
            tally["invalid" if problems else "valid"] += 1
            if problems:
                print("invalid:", own, one.text, problems, sep="\n  ", flush=True)
        median = statistics.median(compiling)
        print(f"{first + len(rules)}: {dict(tally)}; a schema compiles in {median:.3f} s (median)", flush=True)
    return {**tally, "compiling": spread(compiling)}


def speed(generator: Writer, pairs: int, most: int) -> dict[str, Any]:
    """The same number of tokens with and without a constraint, in turns."""
    wide: dict[str, Any] = {
        "type": "array",
        "minItems": 40,
        "items": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
                                                   "age": {"type": "integer", "minimum": 0, "maximum": 120},
                                                   "kind": {"enum": ["cat", "dog", "bird"]}},
                  "required": ["name", "age", "kind"], "additionalProperties": False},
    }  # fmt: skip
    prompt = [{"role": "user", "content": PROMPT}]
    ends, generator.ends = generator.ends, frozenset()  # free texts shall not end early
    how: dict[str, Any] = {"max_new_tokens": most, "temperature": 1.0, "close": False}
    rule = generator.constraint(schema=wide)
    ratios, compiled = [], []
    for seed in range(pairs + 1):
        clock = []
        for given in (None, rule):
            before = time.perf_counter()
            found = generator.generate(prompt, constraint=given, seed=seed, **how)
            clock.append((time.perf_counter() - before) / len(found.ids))
        before = time.perf_counter()
        generator.constraint(schema=wide)
        compiling = time.perf_counter() - before
        if seed:  # the first of each compiles the model's programs
            ratios.append(clock[1] / clock[0])
            compiled.append((clock[1] * most + compiling) / (clock[0] * most))
            print(f"free {clock[0] * 1e3:.1f} ms a token, constrained {clock[1] * 1e3:.1f} ms, {ratios[-1]:.3f}; "
                  f"compiling the grammar {compiling:.2f} s", flush=True)  # fmt: skip
    generator.ends = ends
    found = {"constrained / free": spread(ratios), "with compiling the grammar": spread(compiled)}
    for name, one in found.items():
        print(f"{name}, {most} tokens: {shown(one, '{:.3f}'.format)} (at most {MOST_TIMES})")
    return found


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("model")
    parser.add_argument("--schemas", type=int, default=0)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.quick:
        asked.schemas, asked.batch, asked.tokens, asked.pairs = min(asked.schemas, 5), 5, 16, 1
    figures = begin("Texts under JSON Schemas", asked.threads)
    generator = Writer.from_pretrained(asked.model, threads=asked.threads)
    if asked.schemas:
        figures["schemas"] = check(generator, asked.schemas, asked.batch, asked.tokens, asked.seed)
    if asked.speed:
        figures["speed"] = speed(generator, asked.pairs, asked.tokens)
    keep(figures, asked.json)


if __name__ == "__main__":
    main()
