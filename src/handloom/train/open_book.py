"""Questions to a folder of documents: BM25 finds paragraphs, and the reader finds the answer in them (Chen et al. 2017,
"Reading Wikipedia to answer open-domain questions")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handloom.data.documents import Documents, Paragraph
from handloom.errors import HandloomError
from handloom.tasks.question_answering import Answer
from handloom.text.bm25 import Bm25

if TYPE_CHECKING:
    from handloom.train.estimators import QuestionAnswerer


@dataclass(frozen=True, slots=True)
class Found:
    """An answer, the paragraph it stands in (`answer.start` counts from its beginning), and BM25's score of that."""

    answer: Answer
    paragraph: Paragraph
    relevance: float

    def to_dict(self) -> dict[str, Any]:
        """`start` and `end` count in the whole document."""
        said, start = self.answer, self.paragraph.start
        return {"answer": said.text, "start": start + said.start, "end": start + said.end, "score": said.score,
                "relevance": self.relevance, "document": self.paragraph.document,
                "context": self.paragraph.text}  # fmt: skip


class OpenBook:
    """Paragraphs with an index, and a model that reads them. notes: what was read, and what was passed over."""

    def __init__(self, reader: QuestionAnswerer, documents: Documents) -> None:
        self.reader, self.paragraphs, self.notes = reader, documents.paragraphs, documents.notes
        self._index = Bm25([paragraph.text for paragraph in self.paragraphs])

    def __len__(self) -> int:
        return len(self.paragraphs)

    def ask(self, question: str, count: int = 3, read: int = 10) -> list[Found]:
        """At most `count` answers, the best first, from the `read` paragraphs that speak most of what is asked.

        [] where no paragraph shares a word with the question, or where the model finds no answer in any. Paragraphs
        compare by the logits of their answers.
        """
        if not question.strip():
            raise HandloomError("an empty question has no answer")
        near = self._index.best(question, read)
        if not near:
            return []
        said = self.reader.predict([(question, self.paragraphs[i].text) for i, _ in near])
        assert isinstance(said, list)
        found = [Found(a, self.paragraphs[i], score) for a, (i, score) in zip(said, near, strict=True) if a]
        return sorted(found, key=lambda one: -one.answer.logit)[:count]
