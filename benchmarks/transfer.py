"""Does what was learnt of film reviews help with tweets?

    python -m benchmarks.transfer [--seeds 0 1 2] [--tweets 200] [--sentences DIR] [--keep-in FILE]

The demo's rated sentences (`handloom demo` fetches them; --sentences names their folder), read as negative, neutral and
positive. MiniLM-L6 learns 200 labelled tweets straight, and the same tweets after all sentences of film reviews; both
are measured on the other tweets, and so is the model of film reviews before it has seen a tweet, and a linear bag of
words of the 200. Results are kept as JSON lines in --keep-in as soon as they are there, and are not computed again.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Kept, begin, keep, minilm, options, shown, spread
from handloom.cli import demo_data
from handloom.cli.demo_data import Rated
from handloom.models.catalogue import RATED_SENTENCES, obtain
from handloom.train.progress import silent
from handloom.train.text_classifier import TextClassifier

FILMS: dict[str, Any] = {"epochs": 1, "batch_size": 32, "lr": 2e-4}
TWEETS: dict[str, Any] = {"epochs": 8, "batch_size": 16, "lr": 2e-4, "keep": "last"}
WAYS = ("linear bag of words", "MiniLM-L6", "after films, no tweet", "after films")
Row = dict[str, Any]


def parted(tweets: list[Rated], count: int, seed: int) -> tuple[list[Rated], list[Rated]]:
    """`count` tweets to learn from, drawn by the seed, and all others."""
    order = np.random.default_rng(seed).permutation(len(tweets)).tolist()
    return [tweets[i] for i in order[:count]], [tweets[i] for i in order[count:]]


def measured(model: Path, films: list[Rated], tweets: list[Rated], count: int, seed: int) -> dict[str, Row]:
    """Accuracy and macro F1 of each way, on the tweets that were not drawn."""
    few, others = (demo_data.dataset(part) for part in parted(tweets, count, seed))
    settings = {**TWEETS, "seed": seed, "listener": silent, "before": False}
    straight, learnt = (TextClassifier.from_pretrained(model) for _ in range(2))
    straight.fit(few, test=others, baselines=True, **settings)
    learnt.fit(demo_data.dataset(films), before=False, listener=silent, seed=seed, **FILMS)
    unseen = learnt.evaluate(others, before=False)
    learnt.fit(few, test=others, **settings)
    found = (straight.baselines["linear bag of words"], straight.scores, unseen, learnt.scores)
    return {way: {name: scores[name] for name in ("accuracy", "macro_f1")}
            for way, scores in zip(WAYS, found, strict=True) if scores is not None}  # fmt: skip


def main() -> None:
    parser = options(__doc__ or "", keeps=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tweets", type=int, default=200)
    parser.add_argument("--sentences", type=Path, metavar="DIR", help="the folder of the rated sentences")
    parser.add_argument("--model", type=Path, help="the folder of MiniLM-L6")
    given = parser.parse_args()
    figures = begin("Transfer: film reviews → tweets", given.threads)
    sentences = demo_data.read(given.sentences or obtain(RATED_SENTENCES))
    once = list({sentence.text: sentence for sentence in sentences if sentence.text}.values())
    films, tweets = ([one for one in once if one.kind == kind] for kind in ("film reviews", "tweets"))
    seeds, count = given.seeds, given.tweets
    if given.quick:
        films, seeds, count = films[:64], seeds[:1], 32
        tweets = tweets[:96]
    kept, model = Kept(given.keep_in), minilm(given.model)
    rows = [kept.row({"seed": seed, "tweets": count}, partial(measured, model, films, tweets, count, seed))
            for seed in seeds]  # fmt: skip
    print(f"  {len(films):,} sentences of film reviews; {count} tweets to learn from, {len(tweets) - count:,} to test")
    for way in WAYS:
        words = (f"{name} {shown(spread([row[way][name] for row in rows]), '{:.3f}'.format)}"
                 for name in ("accuracy", "macro_f1"))  # fmt: skip
        print(f"  {way:<24} {', '.join(words)}")
    for name, wanted in (("macro_f1", " (more than 0)"), ("accuracy", "")):  # the first is what the task is judged by
        gains = [100 * (row["after films"][name] - row["MiniLM-L6"][name]) for row in rows]
        print(f"  after films − straight: {shown(spread(gains), '{:+.2f}'.format)} points of {name}{wanted}")
    keep({**figures, "rows": kept.rows}, given.json)


if __name__ == "__main__":
    main()
