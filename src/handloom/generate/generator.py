"""Writer: a language model and its tokenizer, for people: prompts in, texts out."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from handloom.errors import HandloomError, UsageError
from handloom.generate.conditional import CachedEncoderDecoder
from handloom.generate.constraints import Constraint
from handloom.generate.decoder import CachedDecoder, Conditional, Decoder, Ids
from handloom.generate.defaults import Defaults
from handloom.generate.defaults import load as load_defaults
from handloom.generate.grammar import Vocabulary
from handloom.generate.recurrent import RecurrentDecoder, RecurrentPairDecoder
from handloom.generate.sampling import Floats, Sampling, check_numbers, log_probabilities, probabilities
from handloom.generate.search import Beams, Finish, beam_search, generate
from handloom.generate.text import TextStream
from handloom.generate.wanted import NAMES, constraint, split
from handloom.models.config import Config, DecoderConfig
from handloom.models.encoder_decoder import ConditionalLanguageModel
from handloom.models.language_model import LanguageModel
from handloom.models.registry import load_config, load_model
from handloom.models.resolve import model_folder
from handloom.models.rnn import RNNForCausalLM, RNNForConditionalGeneration
from handloom.scoring import Likely, Scorer, TokenScore, check_source, check_top
from handloom.text import chat
from handloom.text.counting import counted
from handloom.text.tokenizer import Tokenizer

Conversation = Sequence[chat.Message]
Said = str | Conversation
Prompt = Said | Ids

MOST = 256
"""New tokens, unless the user says otherwise."""


@dataclass(frozen=True)
class Generation:
    """What came after a prompt. finish: "end" (the model ended it, or nothing more could come), "stop" (a stop string
    came, which `text` leaves out), "length", or "closed" (there was no room left, and what a schema, a pattern or a
    choice still lacked was added the shortest way). score: of a beam, its log-probability over length^penalty. value:
    what the JSON of a schema says; None where there is none, or it is not whole."""

    text: str
    ids: list[int]
    finish: Finish
    score: float | None = None
    value: Any = None


class Writer(Scorer):
    """A decoder, a tokenizer, the tokens that end a text, and the chat template, if there is one."""

    def __init__(
        self, decoder: Decoder, tokenizer: Tokenizer, ends: frozenset[int] = frozenset(), template: str | None = None,
        defaults: Defaults | None = None,
    ) -> None:  # fmt: skip
        self.decoder, self.tokenizer, self.ends, self.template = decoder, tokenizer, ends, template
        self.written = tokenizer.target
        self.defaults = Defaults(ends) if defaults is None else defaults

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, threads: int | None = None, precision: str = "f32", weights: str = "f32",
        **where: Any,
    ) -> Writer:  # fmt: skip
        """From a folder, a name of the catalogue, or `owner/name` on the hub. precision: of matrix products, "f32",
        "bf16", or "auto" for what is faster on this machine. weights: what matrices are stored in for products of f32,
        "f32", "bf16" or "int8": a new word takes as long as reading them (docs/performance.md has what it costs)."""
        folder = model_folder(os.fspath(name), **where)
        config = load_config(folder)
        head = "text2text-generation" if config.is_encoder_decoder else "text-generation"
        model, config, _ = load_model(folder, head, dropout=0.0)
        assert isinstance(model, LanguageModel)
        tokenizer = Tokenizer.load(folder)
        defaults = load_defaults(folder, config, tokenizer)
        decoder = decoder_of(model, config, threads, precision, weights, defaults.start)
        return cls(decoder, tokenizer, defaults.ends, tokenizer.chat_template, defaults)

    # --- generating

    def generate(
        self, prompts: Prompt | Sequence[Prompt], *, max_new_tokens: int | None = None, stop: str | Sequence[str] = (),
        samples: int = 1, constraint: Constraint | Sequence[Constraint | None] | None = None, close: bool = True,
        **sampling: Any,
    ) -> Any:  # fmt: skip
        """What the model goes on with: a Generation for one prompt, a list for a list of prompts, and with several
        `samples` a list for each prompt.

        A prompt is a text, or a conversation, [{"role": "user", "content": "…"}, …], which the model's chat template
        turns into one. sampling: fields of `Sampling` (temperature, top_k, top_p, min_p, repetition_penalty,
        no_repeat_ngram, logit_bias, seed, …). The same seed gives the same text, whatever else is in the batch. What is
        not given is as the model's generation_config.json says: with beams (as `beams` finds the best), if it wants
        some and neither samples, a temperature nor a stop string are asked for; MOST new tokens, if it says nothing.

        What the text must be like: schema (JSON Schema: a dict, a path, a pydantic class), pattern (a regular
        expression) or choices; required and forbidden words; or one `constraint`, made of these by `constraint(…)`, or
        one for each prompt. Where there is no room for the rest of a schema, a pattern or a choice, the text is
        brought to its end by the shortest way, unless `close` is False.
        Raises HandloomError for a prompt that is empty or longer than the context, UsageError for bad settings.
        """
        wanted, sampling = split(sampling)
        how, several, most = self._sampling(sampling), samples != 1, self.most(max_new_tokens)
        if samples < 1:
            raise UsageError(f"samples must be at least 1, and are {samples}")
        given, single = _listed(prompts)
        rules = self._rules(constraint, wanted, stop, len(given))
        if self._searches(how, stop) and not several:
            best = [self.beams(prompt, max_new_tokens=max_new_tokens, constraint=rule, close=close, **sampling)[0]
                    for prompt, rule in zip(given, rules, strict=True)]  # fmt: skip
            return best[0] if single else best
        ids = [self.encode(prompt) for prompt in given for _ in range(samples)]
        rules = [rule for rule in rules for _ in range(samples)]
        streams = [self._text(prompt, stop, rule) for prompt, rule in zip(ids, rules, strict=True)]
        tokens: list[list[int]] = [[] for _ in ids]
        ways: list[Finish] = ["length" for _ in ids]

        def stopped(number: int, token: int) -> bool:
            streams[number].push(token)
            return streams[number].stopped

        draws = [i % samples for i in range(len(ids))]
        for number, token, finish in generate(self.decoder, ids, how, most, self.ends, stopped, draws, rules, close):
            tokens[number].append(token)
            ways[number] = finish or "length"
        for stream in streams:
            stream.finish()
        found = [_whole(*x) for x in zip((s.text for s in streams), tokens, ways, rules, strict=True)]
        grouped: list[Any] = [found[i : i + samples] if several else found[i] for i in range(0, len(found), samples)]
        return grouped[0] if single else grouped

    def stream(
        self, prompt: Prompt, *, max_new_tokens: int | None = None, stop: str | Sequence[str] = (),
        constraint: Constraint | None = None, close: bool = True, **sampling: Any,
    ) -> Generator[str, None, Finish]:  # fmt: skip
        """The text that `generate` would give, piece by piece as it becomes certain (with beams, at the end). What the
        generator returns is how the text ended (Generation.finish)."""
        wanted, sampling = split(sampling)
        how, [rule] = self._sampling(sampling), self._rules(constraint, wanted, stop, 1)
        if self._searches(how, stop):
            best = self.beams(prompt, max_new_tokens=max_new_tokens, constraint=rule, close=close, **sampling)[0]
            yield best.text
            return best.finish
        ids, most = self.encode(prompt), self.most(max_new_tokens)
        text = self._text(ids, stop, rule)
        pieces: list[str] = []

        def stopped(_: int, token: int) -> bool:
            pieces.append(text.push(token))
            return text.stopped

        finish: Finish = "length"
        for _, _, ended in generate(self.decoder, [ids], how, most, self.ends, stopped, None, [rule], close):
            yield from (piece for piece in pieces if piece)
            pieces.clear()
            finish = ended or "length"
        if rest := text.finish():
            yield rest
        return finish

    def beams(
        self, prompt: Prompt, *, beams: int | None = None, length_penalty: float | None = None,
        early_stopping: Any = None, max_new_tokens: int | None = None, constraint: Constraint | None = None,
        close: bool = True, **rules: Any,
    ) -> list[Generation]:  # fmt: skip
        """The likeliest continuations that a search with so many beams finds, best first, each text once (see
        search.Beams). What is not given is as the model's generation_config.json says; of beams, 4 if it says nothing.
        What the text must be like is said as to `generate`.

        Raises HandloomError where rules leave no word that could come.
        """
        wanted, rules = split(rules)
        ids, how, [rule] = self.encode(prompt), self._sampling(rules), self._rules(constraint, wanted, (), 1)
        if how.temperature:
            raise UsageError("beams look for the likeliest text and draw nothing: leave out the temperature")
        said = self.defaults.beams
        settings = Beams(
            (said.count if said.count > 1 else 4) if beams is None else beams,
            said.length_penalty if length_penalty is None else length_penalty,
            said.early if early_stopping is None else early_stopping,
        )
        result: dict[str, Generation] = {}  # by text: one text may be cut into tokens in several ways
        most = self.most(max_new_tokens)
        for found in beam_search(self.decoder, ids, how, settings, most, self.ends, rule, close):
            text = self._text(ids, (), rule)
            for token in found.ids:
                text.push(token)
            text.finish()
            result.setdefault(text.text, _whole(text.text, found.ids, found.finish, rule, found.score))
        if not result:
            raise HandloomError("no word may come: the rules, generation_config.json's or those given, forbid them all")
        return list(result.values())

    def constraint(self, **wanted: Any) -> Constraint:
        """What texts must be like, by the options of `generate` that say so (schema, pattern, choices, required,
        forbidden), to be used many times: a grammar takes some tenths of a second to compile. Raises UsageError if
        nothing is wanted."""
        options, unknown = split(wanted)
        if unknown:
            raise UsageError(f"unknown: {', '.join(unknown)}; a constraint is made of {', '.join(NAMES)}")
        found = constraint(self.vocabulary, **options)
        if found is None:
            raise UsageError(f"a constraint is made of {', '.join(NAMES)}: give one of them")
        return found

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the tokens spell that the model writes."""
        return Vocabulary(self.written, self.decoder.vocabulary, self.ends)

    def _rules(self, given: Any, wanted: Mapping[str, Any], stop: Any, prompts: int) -> list[Constraint | None]:
        """One for each prompt."""
        if wanted and given is not None:
            raise UsageError(f"a constraint is given, and {', '.join(wanted)}, too: put all into one constraint(…)")
        if wanted:
            given = constraint(self.vocabulary, **wanted)
        found = list(given) if isinstance(given, Sequence) else [given] * prompts
        if len(found) != prompts:
            there = f"{counted(prompts, 'prompt')} and {counted(len(found), 'constraint')}"
            raise UsageError(f"{there}: one is needed for each")
        if stop and any(rule is not None and rule.start().closes for rule in found):
            raise UsageError("a stop string would cut what a schema, a pattern or a choice asks for: give only one")
        return found

    def _sampling(self, options: Mapping[str, Any]) -> Sampling:
        known = Sampling.__dataclass_fields__
        for name in options:
            if name not in known:
                hint = "; for a beam search call beams(prompt, beams=…)" if name in ("beams", "length_penalty") else ""
                raise UsageError(f"unknown setting {name!r}; there are {', '.join(known)}{hint}")
        return Sampling(**{**self.defaults.sampling, **options})

    def most(self, given: int | None) -> int:
        """New tokens at most: as given, else as the model says."""
        return given if given is not None else self.defaults.most or MOST

    def _searches(self, how: Sampling, stop: str | Sequence[str]) -> bool:
        return self.defaults.beams.count > 1 and not how.temperature and not stop

    # --- asking

    def score(self, text: str, *, source: str | None = None) -> list[TokenScore]:
        """How likely the model finds each token of a text, given those before it. An encoder–decoder: of what it would
        write having read `source`, its end included.

        A text may be longer than the context: each further token is told by the half of it, at least, that precedes.
        """
        decoder, begun = self._reader(source)
        coded = self.written.encode(text)
        ids = np.concatenate([begun, coded.ids]).astype(np.int32)
        found: list[float | None] = [None] * (len(coded) > 0 and not len(begun))
        width = len(ids) if decoder.context is None or len(begun) else decoder.context + 1
        for begin, end, first in _windows(len(ids), width):
            if end > first:
                found += _of_labels(decoder.logits(ids[begin : end - 1]), ids[begin + 1 : end])[first - end :]
        spelt = (self._spelt(int(token)) for token in coded.ids)
        return [
            TokenScore(token, int(index), value, start, end)
            for token, index, value, (start, end) in zip(spelt, coded.ids, found, coded.offsets.tolist(), strict=True)
        ]

    def next_token_probabilities(self, text: Said = "", top: int = 10, *, source: str | None = None) -> list[Likely]:
        """The likeliest tokens to come next, likeliest first; what an encoder–decoder writes, having read `source`."""
        check_top(top)
        decoder, begun = self._reader(source)
        _, logits = decoder.start([np.concatenate([begun, self._beginning(text)]).astype(np.int32)])
        check_numbers(logits)
        chances = probabilities(logits[0].astype(np.float64))
        order = np.argsort(-chances, kind="stable")[:top].tolist()
        return [Likely(self._spelt(i), i, float(chances[i])) for i in order]

    def _reader(self, source: str | None) -> tuple[Decoder, Ids]:
        """The decoder of texts, and what stands before each of them."""
        decoder = self.decoder
        check_source(source, isinstance(decoder, Conditional))
        if source is None or not isinstance(decoder, Conditional):
            return decoder, np.zeros(0, np.int32)
        read = self.tokenizer.ids(source)
        return decoder.given([read]), decoder.beginning(read)

    def _text(self, prompt: Ids, stop: str | Sequence[str] = (), rule: Constraint | None = None) -> TextStream:
        strings = [stop] if isinstance(stop, str) else list(stop)
        if rule is not None and rule.text([]) is not None:
            return TextStream(Spelt(rule), (), strings, trims=rule.trims)
        return TextStream(self.written, list(self.decoder.beginning(prompt)), strings)

    def _spelt(self, token: int) -> str:
        """A table of words may be longer than the tokenizer's vocabulary."""
        return self.written.token(token) if token < self.written.size else f"[{token}]"

    # --- prompts

    def encode(self, prompt: Prompt) -> Ids:
        """The tokens of a text with what its tokenizer puts before it (not after it, unless an encoder–decoder reads it
        as a whole: it is to go on), or those of a conversation; tokens as they are."""
        if isinstance(prompt, np.ndarray):
            return prompt
        if isinstance(prompt, str) and isinstance(self.decoder, Conditional):
            return self.tokenizer.ids(prompt)
        return self._beginning(prompt)

    def _beginning(self, prompt: Said) -> Ids:
        if not isinstance(prompt, str):
            return self.tokenizer.ids(self.chat_text(prompt), frame=False)
        if not prompt:  # nothing is said yet but what the tokenizer puts before every text
            coded = self.written.encode("a")
            return coded.ids[: int(coded.special.argmin())] if not coded.special.all() else coded.ids
        framed, plain = self.written.ids(prompt), self.written.ids(prompt, frame=False)
        places = range(len(framed) - len(plain) + 1)
        before = next((at for at in places if (framed[at : at + len(plain)] == plain).all()), 0)
        return framed[: before + len(plain)]

    def chat_text(self, messages: Conversation, **more: Any) -> str:
        """A conversation as the model's chat template writes it, with the beginning of the reply."""
        if self.template is None:
            raise HandloomError("this model has no chat template: give it a plain text to go on with")
        text = chat.render(self.template, messages, self.tokenizer.token_names, **more)
        if not text:
            raise HandloomError("the model's chat template writes nothing for this conversation")
        return text


def _whole(
    text: str, ids: list[int], finish: Finish, rule: Constraint | None, score: float | None = None
) -> Generation:  # fmt: skip
    value = rule.value(text) if rule is not None and finish in ("end", "closed") else None
    return Generation(text, ids, finish, score, value)


class Spelt:
    """A Detokenizer: what a constraint reads in tokens."""

    def __init__(self, rule: Constraint) -> None:
        self.rule = rule

    def decode(self, ids: Sequence[int]) -> str:
        return self.rule.text(ids) or ""


def decoder_of(
    model: LanguageModel, config: Config, threads: int | None, precision: str, weights: str, start: int | None = None
) -> Decoder:
    """What goes on with texts by a model. start: the token that an encoder–decoder's targets begin with, if it is
    another than the configuration's."""
    if isinstance(model, ConditionalLanguageModel):
        return CachedEncoderDecoder(model, threads, precision, weights, start)
    if isinstance(model, RNNForConditionalGeneration):
        return RecurrentPairDecoder(model, threads, precision, weights)
    if isinstance(model, RNNForCausalLM):
        return RecurrentDecoder(model, threads, precision, weights)
    if isinstance(config, DecoderConfig):
        return CachedDecoder(model, threads, precision, weights)
    raise HandloomError(f"{config.path}: texts are generated by decoders, and a {config.model_type} is none")


def _windows(length: int, width: int) -> Iterator[tuple[int, int, int]]:
    """(begin, end, first): what is read of a text, `width` tokens at most, so that the tokens from `first` on get their
    scores; half a window further each time."""
    end = min(length, width)
    yield 0, end, 1
    while end < length:
        first, end = end, min(length, end + max(1, width // 2))
        yield end - width, end, first


def _of_labels(pieces: Iterable[Floats], labels: Ids) -> list[float]:
    """The log-probability of each label, from its row of logits."""
    found: list[float] = []
    for rows in pieces:
        own = labels[len(found) : len(found) + len(rows)]
        check_numbers(rows)
        found += log_probabilities(rows)[np.arange(len(own)), own].tolist()
    return found


def _listed(prompts: Prompt | Sequence[Prompt]) -> tuple[list[Prompt], bool]:
    """The prompts, and whether it was a single one."""
    if isinstance(prompts, (str, np.ndarray)):
        return [prompts], True
    if prompts and isinstance(prompts[0], Mapping):
        return [prompts], True  # type: ignore[list-item]
    return list(prompts), False  # type: ignore[arg-type]
