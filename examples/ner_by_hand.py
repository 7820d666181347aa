"""Named entities, everything by hand: data set, batches, model, AdamW, train_epoch, evaluate, classification report.

    python examples/ner_by_hand.py                          on the few sentences below
    python examples/ner_by_hand.py train.conll test.conll   on your own files

This is the explicit listing that `handloom.TokenClassifier` saves you from; read it to see what happens inside, or
start from it when you want something else. The model is trained from nothing, so it is small and knows little.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

import handloom as hl

WIDTH, HEADS, EPOCHS, RATE, DECAY, CLIP = 64, 4, 30, 3e-3, 0.01, 1.0
SENTENCES, TOKENS = 8, 512  # the most that a batch holds

TRAIN = """
[PER Marie Curie] worked in [LOC Paris] . | [PER Ada Lovelace] lived in [LOC London] . | He lives in [LOC Berlin] now .
[PER Alan Turing] was born in [LOC London] . | She moved to [LOC Vienna] in May . | The train to [LOC Rome] was late .
[PER Grace Hopper] works for [ORG Navy Labs] . | [ORG Acme Corp] is based in [LOC Boston] . | It rained in June .
[PER Lise Meitner] left [LOC Berlin] in July . | [ORG Orbit Inc] hired [PER Tom Baker] . | The old house was sold .
We met [PER Rosa Diaz] in [LOC Madrid] . | They flew to [LOC Oslo] . | [PER John Smith] works for [ORG Acme Corp] .
[PER Emma Stone] lived in [LOC Lisbon] . | [ORG Delta Bank] hired [PER Ivan Petrov] . | Nobody called on Monday .
[ORG Nova Labs] is based in [LOC Geneva] . | [PER Nina Simon] was born in [LOC Prague] . | We bought bread and milk .
The bus to [LOC Athens] was full . | She works for [ORG Delta Bank] . | [PER Paul Klee] worked in [LOC Munich] .
I saw [PER Anna Berg] in [LOC Dublin] . | [ORG Red Star Group] is based in [LOC Milan] . | The shop opens in April .
[PER Omar Haddad] moved to [LOC Cairo] . | [ORG Acme Corp] hired [PER Lucy Gray] in June . | He sings in the morning .
We met [PER Hans Weber] in [LOC Zurich] . | He works for [ORG Orbit Inc] . | [PER Mina Sato] lived in [LOC Kyoto] .
They live in [LOC Warsaw] now . | [PER Eva Novak] left [LOC Prague] in May . | The meeting was on Friday .
[ORG Blue River Group] hired [PER Sam Cole] . | [PER Lena Fischer] works for [ORG Nova Labs] . | Dogs like the rain .
The road to [LOC Turin] was closed . | I saw [PER Peter Moss] on Sunday . | [ORG Orbit Inc] is based in [LOC Bergen] .
[PER Clara Reed] was born in [LOC Dublin] . | She moved to [LOC Athens] . | [PER Igor Volkov] worked in [LOC Kiev] .
"""
TEST = """
[PER Maria Keller] worked in [LOC Hamburg] . | [ORG Zenith Corp] is based in [LOC Naples] . | The garden was quiet .
[PER Leo Marsh] works for [ORG Solar Labs] . | She moved to [LOC Tirana] in May . | We met [PER Olga Ivanova] in June .
[ORG Polar Bank] hired [PER Ben Archer] . | [PER Sara Lind] was born in [LOC Malmo] . | The bus to [LOC Graz] was full .
He lives in [LOC Seville] now . | I saw [PER Karl Jung] in [LOC Basel] . | They called on Tuesday .
"""

Sentence = tuple[list[str], list[str]]
Batch = dict[str, np.ndarray]


# -- data set and batches


def read_brackets(text: str) -> list[Sentence]:
    """Sentences written as above, as words and BIO tags."""
    sentences = []
    for sentence in text.replace("\n", " | ").split("|"):
        words: list[str] = []
        tags: list[str] = []
        kind, following = "O", "O"
        for piece in sentence.split():
            if piece.startswith("["):
                kind, following = f"B-{piece[1:]}", f"I-{piece[1:]}"
                continue
            words.append(piece.removesuffix("]"))
            tags.append(kind)
            kind = following
            if piece.endswith("]"):
                kind = following = "O"
        if words:
            sentences.append((words, tags))
    return sentences


def read_conll(path: Path) -> list[Sentence]:
    """One word and its tag a line (the first and the last column), an empty line after each sentence."""
    sentences = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        rows = [line.split() for line in block.split("\n") if line.strip()]
        sentences.append(([row[0] for row in rows], [row[-1] for row in rows]))
    return sentences


class Vocabulary:
    """Numbers for words and tags. Word 0 is any word that training did not see."""

    def __init__(self, sentences: list[Sentence]) -> None:
        counts = Counter(word.lower() for words, _ in sentences for word in words)
        self.words = {word: number for number, word in enumerate(sorted(counts), start=1)}
        self.tags = sorted({tag for _, tags in sentences for tag in tags})

    def batch(self, sentences: list[Sentence], forget: float, rng: np.random.Generator) -> Batch:
        """Pack sentences without padding: one row a word. `forget` is the share of words made unknown."""
        lengths = [len(words) for words, _ in sentences]
        words = [word for words, _ in sentences for word in words]
        ids = np.array([self.words.get(word.lower(), 0) for word in words], np.int32)
        places = {tag: number for number, tag in enumerate(self.tags)}
        return {
            "ids": np.where(rng.random(len(ids)) < forget, 0, ids).astype(np.int32),
            "shapes": np.array([word[:1].isupper() for word in words], np.int32),
            "positions": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
            "starts": np.cumsum([0, *lengths]).astype(np.int32),
            "labels": np.array([places.get(tag, -100) for _, tags in sentences for tag in tags], np.int32),
        }


def batches(sentences: list[Sentence]) -> list[list[Sentence]]:
    """Cut a list into batches of at most SENTENCES sentences and TOKENS words."""
    found: list[list[Sentence]] = [[]]
    for sentence in sentences:
        words = sum(len(words) for words, _ in found[-1]) + len(sentence[0])
        if len(found[-1]) == SENTENCES or words > TOKENS:
            found.append([])
        found[-1].append(sentence)
    return found


# -- model


class Tagger(hl.nn.Module):
    """Word, capital and place are embedded and added; one attention layer; a score for each tag."""

    def __init__(self, words: int, tags: int, rng: np.random.Generator) -> None:
        self.word = hl.nn.Embedding(words, WIDTH, rng=rng)
        self.shape = hl.nn.Embedding(2, WIDTH, rng=rng)
        self.position = hl.nn.Embedding(TOKENS, WIDTH, rng=rng)
        self.norm = hl.nn.LayerNorm(WIDTH)
        self.query = hl.nn.Linear(WIDTH, WIDTH, rng=rng)
        self.key = hl.nn.Linear(WIDTH, WIDTH, rng=rng)
        self.value = hl.nn.Linear(WIDTH, WIDTH, rng=rng)
        self.mix = hl.nn.Linear(WIDTH, WIDTH, rng=rng)
        self.after = hl.nn.LayerNorm(WIDTH)
        self.inner = hl.nn.Linear(WIDTH, 2 * WIDTH, rng=rng)
        self.outer = hl.nn.Linear(2 * WIDTH, WIDTH, rng=rng)
        self.head = hl.nn.Linear(WIDTH, tags, rng=rng)

    def forward(self, batch):
        """→ scores [words, tags]"""
        x = self.word(batch["ids"]) + self.shape(batch["shapes"]) + self.position(batch["positions"])
        y = self.norm(x)
        x = x + self.mix(hl.attention(self.query(y), self.key(y), self.value(y), batch["starts"], heads=HEADS))
        x = x + self.outer(hl.gelu(self.inner(self.after(x))))
        return self.head(x)


# -- optimiser


def adamw(parameters, moments, slope, count, rate, decay):
    """One update of AdamW after clipping; `count` is the number of this step, from 1."""
    norm = hl.sqrt(sum(((g * g).sum() for g in slope.values()), start=hl.Tensor(np.float32(1e-12))))
    scale = hl.minimum(CLIP / norm, 1.0)
    first_share, second_share = 1 - hl.exp(count * float(np.log(0.9))), 1 - hl.exp(count * float(np.log(0.999)))
    moved, kept = {}, {}
    for name, value in parameters.items():
        g = slope[name] * scale
        m, v = moments[name]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = (m / first_share) / (hl.sqrt(v / second_share) + 1e-8)
        shrink = decay if name.endswith("weight") and "norm" not in name and "after" not in name else 0.0
        moved[name], kept[name] = value - rate * step - rate * shrink * value, (m, v)
    return moved, kept


# -- training


SIZES = {name: ("tokens",) for name in ("ids", "shapes", "positions", "labels")} | {"starts": ("sequences+1",)}
CAPACITY = {"tokens": TOKENS, "sequences": SENTENCES}


def compile_step(model: Tagger):
    """(parameters, moments, count, rate, batch) → (loss, parameters, moments): native code for batches of any size."""

    def loss(parameters, batch):
        with model.bound(parameters):
            total, weight = hl.cross_entropy(model(batch), batch["labels"])
        return total / weight

    def step(parameters, moments, count, rate, batch):
        value, slope = hl.value_and_grad(loss)(parameters, batch)
        return value, *adamw(parameters, moments, slope, count, rate, DECAY)

    return hl.compile(step, symbols={"batch": SIZES}, capacity=CAPACITY, donate=("parameters", "moments"))


def compile_scores(model: Tagger):
    def scores(parameters, batch):
        with model.bound(parameters):
            return model(batch)

    return hl.compile(scores, symbols={"batch": SIZES}, capacity=CAPACITY)


def train_epoch(step, state, data: list[Sentence], vocabulary: Vocabulary, rate: float, rng: np.random.Generator):
    """All sentences once, in a new order. Returns the new state and the mean loss."""
    parameters, moments, count = state
    losses = []
    for part in batches([data[i] for i in rng.permutation(len(data))]):
        count += 1
        batch = vocabulary.batch(part, forget=0.3, rng=rng)
        value, parameters, moments = step(parameters, moments, np.float32(count), np.float32(rate), batch)
        losses.append(float(value.numpy()))
    return (parameters, moments, count), float(np.mean(losses))


# -- evaluation


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """(first word, one past the last, kind) of each entity in BIO tags."""
    found, start = set(), None
    for place, tag in enumerate([*tags, "O"]):
        if start is not None and (tag[0] != "I" or tag[2:] != tags[start][2:]):
            found.add((start, place, tags[start][2:]))
            start = None
        if tag[0] == "B" or (tag[0] == "I" and start is None):
            start = place
    return found


def evaluate(scores, parameters, data: list[Sentence], vocabulary: Vocabulary) -> list[tuple[list[str], list[str]]]:
    """(true tags, predicted tags) of each sentence."""
    pairs = []
    for part in batches(data):
        batch = vocabulary.batch(part, forget=0.0, rng=np.random.default_rng(0))
        best = scores(parameters, batch).numpy().argmax(axis=1)
        for (_, tags), start in zip(part, batch["starts"], strict=False):
            pairs.append((tags, [vocabulary.tags[number] for number in best[start : start + len(tags)]]))
    return pairs


def classification_report(pairs: list[tuple[list[str], list[str]]]) -> float:
    """Print precision, recall and F1 of each kind of entity; returns the F1 of all together."""
    counts: dict[str, Counter[str]] = {}
    for true, guess in pairs:
        for _, _, kind in spans(true) & spans(guess):
            counts.setdefault(kind, Counter())["right"] += 1
        for column, tags in [("true", true), ("guessed", guess)]:
            for _, _, kind in spans(tags):
                counts.setdefault(kind, Counter())[column] += 1
    counts["all"] = sum(counts.values(), start=Counter())
    print(f"{'':10} precision  recall      f1  support")
    for kind, found in sorted(counts.items(), key=lambda item: (item[0] == "all", item[0])):
        precision = found["right"] / max(found["guessed"], 1)
        recall = found["right"] / max(found["true"], 1)
        f1 = 2 * found["right"] / max(found["guessed"] + found["true"], 1)
        print(f"{kind:10} {precision:9.3f} {recall:7.3f} {f1:7.3f} {found['true']:8}")
    return f1


def main() -> None:
    files = [Path(name) for name in sys.argv[1:3]]
    train, test = map(read_conll, files) if files else map(read_brackets, (TRAIN, TEST))
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary(train)
    model = Tagger(len(vocabulary.words) + 1, len(vocabulary.tags), rng)
    step, scores = compile_step(model), compile_scores(model)

    parameters = {name: value.numpy() for name, value in model.parameters().items()}
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in parameters.items()}
    state = (parameters, moments, 0)
    print(f"{len(train)} sentences to learn from, {len(test)} to be judged by; tags {', '.join(vocabulary.tags)}")
    for epoch in range(EPOCHS):
        state, mean = train_epoch(step, state, train, vocabulary, RATE * (1 - epoch / EPOCHS), rng)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {mean:.4f}")
    f1 = classification_report(evaluate(scores, state[0], test, vocabulary))
    if not files:
        assert f1 > 0.8


if __name__ == "__main__":
    main()
