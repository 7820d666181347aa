"""The slow truth: Kneser–Ney from the formulas, one n-gram after the other, in dictionaries."""

from __future__ import annotations

from collections import Counter, defaultdict

Gram = tuple[str, ...]


class KneserNey:
    """Interpolated modified Kneser–Ney of Chen and Goodman (1999), without pruning."""

    def __init__(self, sentences: list[str], order: int) -> None:
        self.order = order
        raw: list[Counter[Gram]] = [Counter() for _ in range(order + 1)]
        for sentence in sentences:
            words = ("<s>", *sentence.split(), "</s>")
            for n in range(1, order + 1):
                raw[n].update(words[i : i + n] for i in range(len(words) - n + 1))
        self.counts: list[dict[Gram, int]] = [{}, *({} for _ in range(order))]
        self.counts[order] = dict(raw[order])
        for n in range(1, order):
            before = Counter(gram[1:] for gram in raw[n + 1])  # each longer n-gram once: words that come before
            self.counts[n] = {gram: raw[n][gram] if gram[0] == "<s>" else before[gram] for gram in raw[n]}
        self.counts[1].pop(("<s>",), None)
        self.vocabulary = sorted({word for (word,) in self.counts[1]} | {"<unk>"})
        self.discounts = [(0.0,) * 4, *(self.estimate(list(self.counts[n].values())) for n in range(1, order + 1))]
        self.total: list[dict[Gram, int]] = [defaultdict(int) for _ in range(order + 1)]
        self.taken: list[dict[Gram, float]] = [defaultdict(float) for _ in range(order + 1)]
        for n in range(1, order + 1):
            for gram, count in self.counts[n].items():
                self.total[n][gram[:-1]] += count
                self.taken[n][gram[:-1]] += self.discounts[n][min(count, 3)]

    @staticmethod
    def estimate(counts: list[int]) -> tuple[float, ...]:
        n1, n2, n3, n4 = (counts.count(times) for times in (1, 2, 3, 4))
        if n1 and n2 and n3:
            y = n1 / (n1 + 2 * n2)
            found = (0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
            if min(found[1:]) > 0:
                return found
        return (0.0, 0.5, 1.0, 1.5)

    def probability(self, word: str, history: Gram) -> float:
        """Of a word after a history, which is cut to the order."""
        history = history[len(history) - self.order + 1 :] if len(history) >= self.order else history
        n = len(history) + 1
        lower = self.probability(word, history[1:]) if history else 1 / len(self.vocabulary)
        total = self.total[n].get(history)
        if not total:
            return lower
        count = self.counts[n].get((*history, word), 0)
        return (count - self.discounts[n][min(count, 3)] + self.taken[n][history] * lower) / total

    def sentence(self, text: str) -> list[float]:
        """The probability of each token and the end."""
        known = set(self.vocabulary)
        words = ["<s>", *(word if word in known else "<unk>" for word in text.split()), "</s>"]
        return [self.probability(word, tuple(words[:at])) for at, word in enumerate(words) if at]
