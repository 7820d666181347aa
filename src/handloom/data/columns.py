"""Which column holds what: as the user says, else by the usual names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from handloom.errors import HandloomError

TEXT_NAMES = (
    "text", "sentence", "review", "content", "document", "body", "message", "comment", "tweet", "utterance", "post",
    "description", "question", "query", "input", "headline", "title", "文本", "内容", "评论", "句子", "正文", "文章",
    "标题", "文字", "問題", "テキスト", "본문",
)  # fmt: skip
LABEL_NAMES = (
    "label", "category", "class", "intent", "sentiment", "target", "topic", "tag", "labels", "polarity", "emotion",
    "rating", "stars", "output", "y", "标签", "类别", "分类", "情感", "意图", "标注", "類別", "ラベル", "레이블",
)  # fmt: skip
TOKEN_NAMES = ("tokens", "words", "token", "word", "词", "字")
TAG_NAMES = ("tags", "ner_tags", "labels", "ner", "bio", "pos_tags", "tag", "label", "标签")
SPAN_NAMES = ("spans", "entities", "entity", "label", "labels", "annotations", "实体")

# The names that come in pairs: a text column of this name has that partner.
PAIR_NAMES = {
    "text": "pair", "sentence1": "sentence2", "text1": "text2", "text_a": "text_b",
    "sentence_a": "sentence_b", "question1": "question2", "premise": "hypothesis", "query": "document",
    "文本1": "文本2", "句子1": "句子2",
}  # fmt: skip


def choose(names: Sequence[str], wanted: str | int, option: str, where: str) -> str:
    """The column that the user named: by its exact name, else ignoring case and blanks, else by number from 1."""
    wanted = str(wanted)
    if wanted in names:
        return wanted
    folded = {_fold(name): name for name in reversed(names)}
    if _fold(wanted) in folded:
        return folded[_fold(wanted)]
    if wanted.isdigit() and 1 <= int(wanted) <= len(names):
        return names[int(wanted) - 1]
    near = difflib.get_close_matches(_fold(wanted), list(folded), n=1, cutoff=0.5)
    hint = f" Did you mean {folded[near[0]]!r}?" if near else ""
    raise HandloomError(f"{where} has no column {wanted!r} ({option}); there are {listed(names)}.{hint}")


def guess(names: Sequence[str], usual: Sequence[str]) -> str | None:
    """The column with the most usual name, if any has one."""
    folded = {_fold(name): name for name in reversed(names)}
    return next((folded[name] for name in usual if name in folded), None)


def text_pair(names: Sequence[str]) -> tuple[str, str] | None:
    """Two columns whose names belong together, such as premise and hypothesis."""
    folded = {_fold(name): name for name in reversed(names)}
    for first, second in PAIR_NAMES.items():
        if first in folded and second in folded:
            return folded[first], folded[second]
    return None


def listed(names: Sequence[str]) -> str:
    """The columns there are, for an error."""
    shown = ", ".join(repr(name) for name in names[:20])
    return f"{shown} …" if len(names) > 20 else shown or "none"


def _fold(name: str) -> str:
    return str(name).strip().casefold().replace(" ", "_")
