"""What stands in a label column: one name, several, a step of an order, or a number."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handloom.errors import HandloomError, UsageError

ONE, SEVERAL, ORDERED, NUMBER = "one", "several", "ordered", "number"
PROBLEMS = (ONE, SEVERAL, ORDERED, NUMBER)
SAID = {ONE: "one a text", SEVERAL: "several a text", ORDERED: "steps of an order", NUMBER: "numbers"}
SEPARATOR = "|"
LARGEST = 1e100  #: of numbers: their squares are added up

Label = str | float | tuple[str, ...]
"""A name (ONE, ORDERED), a number (NUMBER), different names in alphabetical order (SEVERAL)."""


@dataclass(frozen=True, slots=True)
class LabelForm:
    """How labels are read. problem: one of PROBLEMS; None: what they look like. separator: between several in one
    string. order: of ORDERED, () for that of their numbers. none: a name that says, as a blank then does, that a text
    has none of the labels; None: a blank is an error."""

    problem: str | None = None
    separator: str = SEPARATOR
    order: tuple[str, ...] = ()
    none: str | None = None

    @classmethod
    def of(
        cls, problem: str | None, separator: str | None, order: Sequence[str] | str | None, none: str | None
    ) -> LabelForm:
        """What a user said. UsageError where it does not fit together."""
        if problem is not None and problem not in PROBLEMS:
            near = difflib.get_close_matches(str(problem), PROBLEMS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"--problem {problem!r} is not known{hint} (there are {', '.join(PROBLEMS)})")
        steps = tuple(str(step).strip() for step in (order.split(",") if isinstance(order, str) else order or ()))
        for option, given, kind in (
            ("--label-separator", separator is not None, SEVERAL),
            ("--label-order", order is not None, ORDERED),
            ("--none-label", none is not None, ONE),
        ):
            if given and problem not in (None, kind):
                raise UsageError(f"{option} is for --problem {kind}, not {problem}")
            if given and option != "--none-label":
                problem = kind
        if separator is not None and not separator:
            raise UsageError("--label-separator is empty; it stands between the labels of a text, such as |")
        if order is not None and (len(steps) < 2 or len(set(steps)) < len(steps) or not all(steps)):
            raise UsageError(f"--label-order {', '.join(steps)!r}: name two different labels or more, the lowest first")
        return cls(problem, separator or SEPARATOR, steps, none)

    def decided(self, values: Iterable[Any], written: bool = False) -> LabelForm:
        """With the problem that the values of a label column speak of, where none was named: a list means several, a
        fraction that is no text a number, all else one. written: a table's, where numbers can only be texts: they are
        numbers where all of them are, and one has a fraction."""
        if self.problem is not None:
            return self
        seen = list(map(plain, values))
        if written and (numbers := _numbers(seen)) is not None:
            seen = numbers
        lists = any(isinstance(value, (list, tuple)) for value in seen)
        fractions = any(isinstance(value, float) and math.isfinite(value) and value % 1 for value in seen)
        return replace(self, problem=SEVERAL if lists else NUMBER if fractions else ONE)

    def read(self, value: Any, column: str, where: str) -> Label | None:
        """A label; None where there is none. HandloomError for what cannot be one."""
        value = plain(value)
        found = _READ[self.problem or ONE](value, column, where, self.separator)
        if self.none is not None and found == self.none:
            return None
        if self.order and found is not None and found not in self.order:
            raise HandloomError(f"{where}: the label {found!r} (column {column!r}) is none of --label-order: "
                                f"{', '.join(self.order)}")  # fmt: skip
        return found


def _numbers(written: Sequence[Any]) -> list[Any] | None:
    """Texts as numbers, but for blanks; None where one is no number."""
    try:
        found = [float(value) for value in written if not blank(value)]
    except (TypeError, ValueError):
        return None
    return found if all(map(math.isfinite, found)) else None


PLAIN = LabelForm()
"""Where a user said nothing of it."""


def blank(value: Any) -> bool:
    """None, NaN, or nothing but blanks."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def text_string(value: Any, column: str, where: str) -> str:
    """A text; "" for a blank. HandloomError for anything else."""
    if not isinstance(value, str) and not blank(value):
        raise HandloomError(f"{where}: column {column!r} should hold a text, not {value!r:.60}")
    return value if isinstance(value, str) else ""


def plain(value: Any) -> Any:
    """NumPy's arrays and scalars as Python's."""
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, (str, bytes)) else value


def label_string(value: Any, column: str, where: str) -> str | None:
    """A label as its name; None for a blank. Whole numbers lose a trailing .0 that a data frame gave them."""
    if isinstance(value, (list, tuple, set, dict)):
        raise HandloomError(
            f"{where}: the label (column {column!r}) is a {type(value).__name__}: {value!r:.80}; one label is needed"
        )
    if blank(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def label_list(value: Any, column: str, where: str, separator: str = SEPARATOR) -> tuple[str, ...] | None:
    """From a list, or from a string with separators: () for an empty one, None where there is neither."""
    if isinstance(value, str):
        value = value.split(separator) if value.strip() else []
    if not isinstance(value, (list, tuple, set, frozenset)):
        if not isinstance(value, dict) and blank(value):
            return None
        raise HandloomError(
            f"{where}: the labels (column {column!r}) are a {type(value).__name__}: {value!r:.60}; write a list of "
            f"names, or names with {separator!r} between them"
        )
    found = []
    for part in value:
        name = None if isinstance(part, (list, tuple, set, dict)) else label_string(plain(part), column, where)
        if name is None:
            raise HandloomError(f"{where}: {part!r:.60} among the labels (column {column!r}) is no name of a label")
        found.append(name)
    return tuple(sorted(set(found)))


def label_number(value: Any, column: str, where: str, separator: str = SEPARATOR) -> float | None:
    """A finite number, of at most LARGEST; None for a blank."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, (bool, list, tuple, set, dict)):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if abs(number) <= LARGEST:
            return number
        if math.isfinite(number):
            raise HandloomError(f"{where}: the label (column {column!r}) is {number:g}; a number may be {LARGEST:g} at "
                                "most")  # fmt: skip
    raise HandloomError(f"{where}: the label (column {column!r}) should be a finite number, not {value!r:.60}")


def label_alone(value: Any, column: str, where: str, separator: str = SEPARATOR) -> str | None:
    """`label_string` of a text that might have several."""
    try:
        return label_string(value, column, where)
    except HandloomError as error:
        raise HandloomError(f"{error} (--problem several reads lists of labels)") from error


_READ: dict[str, Callable[[Any, str, str, str], Label | None]] = {
    ONE: label_alone, ORDERED: label_alone, SEVERAL: label_list, NUMBER: label_number,
}  # fmt: skip


def in_order(labels: Iterable[str]) -> tuple[str, ...] | None:
    """Labels that are numbers, the least first; None where some is none."""
    try:
        keyed = {label: float(label) for label in labels}
    except ValueError:
        return None
    if not all(map(math.isfinite, keyed.values())):
        return None
    return tuple(sorted(keyed, key=lambda label: keyed[label]))
