"""Writes docs/tasks.md and docs/tasks.zh.md, the index of tasks, from the tables of the code: python docs/make_tasks.py

A test compares the pages with what this would write, so that a new task is not forgotten here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handloom.data.examples import (
    CHOICE,
    GENERATION,
    QUESTION,
    RELATION,
    SIMILARITY,
    SUMMARIZATION,
    TEXT,
    TOKEN,
    TRANSLATION,
)
from handloom.data.readers import KINDS
from handloom.tasks.matching import METRICS, Matching
from handloom.tasks.multiple_choice import MultipleChoice
from handloom.tasks.question_answering import QuestionAnswering
from handloom.tasks.relation_extraction import RelationExtraction
from handloom.tasks.rewriting import Rewriting
from handloom.tasks.task import Task
from handloom.tasks.text_classification import TextClassification
from handloom.tasks.text_generation import TextGeneration
from handloom.tasks.token_classification import TokenClassification
from handloom.train.estimators import ESTIMATORS

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """task: an instance, which says its metrics. example: in examples/. files: forms of data in files."""

    task: Task
    example: str
    files: str


def _matching() -> Task:
    """With the metrics of every kind of pairs."""
    task = Matching()
    task.metrics = (*dict.fromkeys(name for names in METRICS.values() for name in names), "loss")
    return task


ROWS: Mapping[str, Row] = {
    TEXT: Row(TextClassification(["a", "b"]), "text_classification.py", "CSV, TSV, JSONL, Parquet, Excel, folders"),
    TOKEN: Row(TokenClassification(["O"]), "named_entities.py", "CoNLL, JSONL, Label Studio, doccano"),
    RELATION: Row(RelationExtraction(["a", "b"]), "relation_extraction.py", "JSONL, CSV, TSV, SemEval-2010 task 8"),
    QUESTION: Row(QuestionAnswering(), "question_answering.py", "SQuAD 1.1 / 2.0, CMRC, DRCD, JSONL, CSV, TSV"),
    SIMILARITY: Row(_matching(), "sentence_similarity.py", "JSONL, CSV, TSV: scores, labels, pairs, triplets"),
    CHOICE: Row(MultipleChoice(), "multiple_choice.py", "JSONL, CSV, TSV, as SWAG, RACE, CommonsenseQA, COPA, ARC"),
    TRANSLATION: Row(Rewriting(TRANSLATION, 0), "translation.py", "parallel files, JSONL, CSV, TSV"),
    SUMMARIZATION: Row(Rewriting(SUMMARIZATION, 0), "summarization.py", "JSONL, CSV, TSV, parallel files"),
    GENERATION: Row(TextGeneration(None), "dialogue.py", "chat JSONL, ShareGPT, Alpaca, prompts, texts, source trees"),
}

TEXTS = {
    "tasks.md": """\
# Every task

*[中文](tasks.zh.md)*

Each comes by the same five steps: a model and data, the task, hyper-parameters, training, evaluation and use. In
Python they take a dozen lines at most, which the examples show; on the command line they are one command. What each
task reads and says stands in [the guide](guide.md). All of them pass one
[suite of checks](guide.md#a-task-of-your-own), as your own can.

| task | class | files | in Python | metrics | example |
|---|---|---|---|---|---|
""",
    "tasks.zh.md": """# 所有任务

*[English](tasks.md)*

每个任务都是同样的五步：模型和数据、任务、超参数、训练、评估和使用。在 Python 里最多十二行，
见各个例子；在命令行里是一条命令。每个任务读什么、说什么，见[使用指南](guide.zh.md)。所有任务都通过同一套检查，你自己的任务也可以。

| 任务 | 类 | 文件 | Python 里 | 指标 | 例子 |
|---|---|---|---|---|---|
""",
}
COMMANDS = {"tasks.md": "One command for each:", "tasks.zh.md": "每个任务一条命令："}

MORE = {
    "tasks.md": """\
More examples out of few, for each of them: `handloom augment FILE --how typo --out more.jsonl`,
`train --augment`, and in Python `handloom.augment`; see [augmentation.py](../examples/augmentation.py) and
[the guide](guide.md#more-examples-out-of-few).
""",
    "tasks.zh.md": """\
每个任务都可以由少变多：`handloom augment FILE --how typo --out more.jsonl`、`train --augment`，
Python 里是 `handloom.augment`；见 [augmentation.py](../examples/augmentation.py) 和[使用指南](guide.zh.md#由少变多)。
""",
}


def rows() -> str:
    found = []
    for name, kind in ESTIMATORS.items():
        row = ROWS[name]
        lists = " or ".join(f"`({', '.join(fields)})`" for fields in KINDS[name].tuples[0].values())
        metrics = ", ".join(f"`{metric}`" for metric in row.task.metrics)
        link = f"[{row.example}](../examples/{row.example})"
        found.append(f"| {name} | `{kind.__name__}` | {row.files} | {lists} | {metrics} | {link} |")
    return "\n".join(found)


def page(name: str) -> str:
    beginnings = {TRANSLATION: "--model-type marian "}  # there is no usual checkpoint
    commands = "\n".join(
        f"handloom train {task} {beginnings.get(task, '')}--train FILE --test FILE --out runs/{task}"
        for task in ESTIMATORS
    )
    return f"{TEXTS[name]}{rows()}\n\n{COMMANDS[name]}\n\n```sh\n{commands}\n```\n\n{MORE[name]}"


if __name__ == "__main__":
    for name in TEXTS:
        (FOLDER / name).write_text(page(name), encoding="utf-8")
