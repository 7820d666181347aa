"""What content and position add to attention's products (He and others, 2021): for a query and a key some places from
it, the query's term and the key's term of the bucket that this distance falls into.

A query's terms are a row of numbers, one a bucket, and so are a key's; they are read and, in the gradient, added up
one score after another, which is little beside the products.
"""

from __future__ import annotations

from handloom.codegen.attention_parts import Distances, Extent, Row, Rows, Slots, whole_vectors
from handloom.codegen.emit import Function, Value, number, vector, zero
from handloom.graph.attention_reference import AttentionLike

TERM_SLOTS = ("q_terms", "q_terms_stride", "q_terms_heads", "k_terms", "k_terms_stride", "k_terms_heads", "buckets")
TERM_SLOPE_SLOTS = ("dq_terms", "dq_terms_stride", "dq_terms_heads", "dk_terms", "dk_terms_stride", "dk_terms_heads")
"""`_stride`: elements from row to row; `_heads`: from head to head."""


class Terms:
    """Of one sequence: `head` chooses whose terms are read."""

    def __init__(self, f: Function, slots: Slots, options: AttentionLike, extent: Extent, room: Value) -> None:
        """room: scratch of `term_floats`, for the bucket of every distance (i32), side by side along the keys."""
        assert options.buckets is not None
        self.f, self.slots, self.extent, self.buckets = f, slots, extent, options.buckets
        self._bucket_of = Distances(f, extent, options.far, room)
        self._bucket_of.spread(slots.pointer("buckets"))

    def head(self, head: Value) -> None:
        self._q, self._k = self._rows("q_terms", "k_terms", head)

    def slopes_of(self, head: Value, lanes: int) -> None:
        """Of the head whose gradient comes next: zeros, until they are added to."""
        self._dq, self._dk = self._rows("dq_terms", "dk_terms", head)
        for rows, count in ((self._dq, self.extent.n), (self._dk, self.extent.m)):
            self._clear(rows, count, lanes)

    def add(self, row: Row, query: Value, line: Value) -> None:
        """To the products of a query with the keys that it sees."""
        f, own = self.f, self._q.at(query)

        def one(key: Value, bucket: Value) -> None:
            place = f.at(line, key, "float")
            terms = [f.load("float", f.at(rows, bucket, "float")) for rows in (own, self._k.at(key))]
            f.store(f.binary("fadd", f.load("float", place), f.binary("fadd", *terms)), place)

        self._each(row, one)

    def scatter(self, row: Row, query: Value, line: Value) -> None:
        """The gradients of a query's products, to those of the terms."""
        f, own = self.f, self._dq.at(query)

        def one(key: Value, bucket: Value) -> None:
            slope = f.load("float", f.at(line, key, "float"))
            for rows in (own, self._dk.at(key)):
                place = f.at(rows, bucket, "float")
                f.store(f.binary("fadd", f.load("float", place), slope), place)

        self._each(row, one)

    def _each(self, row: Row, one: object) -> None:
        """one(key, bucket) for the keys that a query sees."""
        assert callable(one)
        f = self.f

        def step(key: Value, _: list[Value]) -> None:
            bucket = f.load("i32", self._bucket_of.at(row.position, key))
            one(key, f.cast("sext", bucket, "i64"))

        f.loop(row.low, row.high, 1, step, unroll=False)

    def _rows(self, queries: str, keys: str, head: Value) -> tuple[Rows, Rows]:
        f, found = self.f, []
        for name, first in ((queries, self.extent.first_query), (keys, self.extent.first_key)):
            stride = self.slots.size(f"{name}_stride")
            place = f.add(f.mul(head, self.slots.size(f"{name}_heads")), f.mul(first, stride))
            found.append(Rows(f, f.at(self.slots.pointer(name), place, "float"), stride))
        return found[0], found[1]

    def _clear(self, rows: Rows, count: Value, lanes: int) -> None:
        f, whole = self.f, self.buckets // lanes * lanes

        def clear(index: Value, _: list[Value]) -> None:
            line, nothing = rows.at(index), zero(vector("float", lanes))
            f.loop(0, whole, lanes, lambda i, _: f.store(nothing, f.at(line, i, "float")), unroll=False)
            f.loop(whole, self.buckets, 1, lambda i, _: f.store(number(0.0), f.at(line, i, "float")), unroll=False)

        f.loop(0, count, 1, clear, unroll=False)


def term_floats(options: AttentionLike, queries: int, keys: int) -> int:
    return 0 if options.buckets is None else whole_vectors(keys) + whole_vectors(queries)
