"""The graph cut into units, each of which becomes one kernel.

Needs: legalised form. Promises: every node that lies in memory is a root of one unit (or an input), units depend on
each other without cycles, and all that is not a root is computed where it is used.

How: values that are cheap to compute again from one tensor in memory belong to no unit; they are computed wherever
they are read (so a derivative is not written by the forward pass). All other nodes are visited from the outputs back.
A node joins the unit that reads it; where several units read it they are merged, if that makes no cycle; else one of
them hosts it and the others read it from memory. A product takes an element-wise unit that reads it as its epilogue.
Last, loops over the same space that read the same tensors are merged side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from handloom.graph.access import VIEWS, base_of
from handloom.graph.node import Dimension, Node, walk
from handloom.graph.ops import OPS
from handloom.graph.unit import LOOP_OPS_EXTRA, Unit, side_by_side

MOST_OPERANDS = 24
"""Tensors that a loop may read before it is not merged with others any more."""


def is_loop(node: Node) -> bool:
    return OPS[node.op].kind in ("elementwise", "reduce") or node.op in LOOP_OPS_EXTRA or side_by_side(node)


def _under_cast(node: Node) -> Node:
    """The bf16 tensor that is only widened to be summed, or the node itself."""
    narrow = node.op == "cast" and node.inputs[0].dtype == "bf16" and node.dtype == "f32"
    return node.inputs[0] if narrow else node


def over_rows(node: Node) -> bool:
    """A sum over all axes but the last: it leaves a loop through partial sums, and no loop reads its own."""
    return node.op == "sum" and node.attrs.axes != (len(node.shape) - 1,)


def leaves(node: Node) -> bool:
    """Whether a loop only makes the node and cannot read it itself."""
    return over_rows(node) or side_by_side(node)


def space_of(node: Node) -> tuple[Dimension, ...]:
    """The places that a loop goes through to compute a node."""
    parts = OPS[node.op].kind == "reduce" or side_by_side(node)
    return node.inputs[0].shape if parts else node.shape


def partition(outputs: Sequence[Node]) -> list[Unit]:
    return _Partition(outputs).run()


class _Partition:
    def __init__(self, outputs: Sequence[Node]) -> None:
        self.order = [node for node in walk(outputs) if node.op not in VIEWS and node.op not in ("constant", "input")]
        self.position = {node: i for i, node in enumerate(self.order)}
        self.outputs = {base_of(output) for output in outputs}
        self.reads: dict[Node, list[tuple[Node, bool]]] = {node: list(self._direct(node)) for node in self.order}
        self.users: dict[Node, list[Node]] = {node: [] for node in self.order}
        self.forced = self.outputs | {node for node in self.order if node.op == "after" or side_by_side(node)}
        for node in self.order:
            for x, plain in self.reads[node]:
                if x in self.users:
                    self.users[x].append(node)
                if not is_loop(node) or not plain or node.op == "take":
                    self.forced.add(x)
        self.riders = self._riders()
        self.inline = self._cheap()
        self.unit: dict[Node, Unit] = {}
        self.units: list[Unit] = []

    @staticmethod
    def _direct(node: Node) -> Iterable[tuple[Node, bool]]:
        for x in node.inputs:
            plain = True
            while x.op in VIEWS:
                plain = plain and x.op == "broadcast"
                x = x.inputs[0]
            if x.op != "constant":
                yield x, plain

    def _riders(self) -> dict[Node, Node]:
        """Sums over the rows of a tensor that a product reads transposed: sum → product. Bias gradients beside dW."""
        products = {
            x.inputs[0]: x
            for x in self.order
            if x.op == "dot" and x.attrs.transpose_a and len(x.shape) == 2 and x.shape[1] != 0
        }
        summed = {x: _under_cast(x.inputs[0]) for x in self.order if over_rows(x) and len(x.shape) == 2}
        return {x: products[tensor] for x, tensor in summed.items() if tensor in products}

    # --- what is computed again wherever it is read ---------------------------------------------------------------

    def _cheap(self) -> set[Node]:
        """Element-wise nodes that cost at most one tensor to compute again and that nobody needs in memory."""
        sources: dict[Node, frozenset[Node]] = {}
        inline: set[Node] = set()
        for node in self.order:
            if not is_loop(node) or OPS[node.op].kind == "reduce":
                sources[node] = self._as_source(node)
                continue
            found: frozenset[Node] = frozenset()
            for x, _ in self.reads[node]:
                found |= sources[x] if x in sources else self._as_source(x)
            if node.op in ("random_uniform", "iota"):
                sources[node] = frozenset()  # counted, never stored
                inline.add(node)
            elif node.op == "take":
                sources[node] = frozenset({node})
                if node not in self.forced:
                    inline.add(node)
            elif node in self.forced or (node.op == "cast" and node.dtype == "bf16"):
                sources[node] = self._as_source(node)  # rounded in order to be kept small
            elif len(found) <= 1:
                sources[node] = found
                inline.add(node)
            else:
                # worth storing, if several units come to read it; a single reader goes on with what stands below
                sources[node] = self._as_source(node) if len(set(self.users[node])) > 1 else found
        return inline - self.forced

    @staticmethod
    def _as_source(node: Node) -> frozenset[Node]:
        """A tensor that is read element by element counts; numbers a row and vectors do not."""
        node_shape: tuple[Dimension, ...] = node.spec[0].shape if isinstance(node.spec, tuple) else node.shape
        small = len(node_shape) < 2 or node_shape[-1] == 1 or all(size == 1 for size in node_shape[:-1])
        return frozenset() if small else frozenset({node})

    # --- units ----------------------------------------------------------------------------------------------------

    def run(self) -> list[Unit]:
        for node in reversed(self.order):
            if node in self.inline or node.op == "project" or node in self.riders:
                continue
            if is_loop(node) or node.op == "dot":
                self._place(node)
            else:
                self._new(node, anchor=True)
            if node.op == "dot":
                self._seat_rider(node)
        self._merge_siblings()
        for unit in self.units:
            read_by_others = [
                node
                for node in unit.members
                if node in self.outputs or any(self.unit.get(u) is not unit for u in self._readers(node))
            ]
            unit.roots = sorted(read_by_others, key=self.position.__getitem__)
        return self._scheduled()

    def _seat_rider(self, dot: Node) -> None:
        for rider, product in self.riders.items():
            if product is dot:
                self.unit[dot].row_sums = rider
                self.unit[dot].members.add(rider)
                self.unit[rider] = self.unit[dot]

    def _new(self, node: Node, anchor: bool) -> Unit:
        space = () if isinstance(node.spec, tuple) else space_of(node)
        unit = Unit(space, node if anchor else None, set() if anchor else {node})
        if anchor:
            unit.members = {node}
        self.units.append(unit)
        self.unit[node] = unit
        return unit

    def _readers(self, node: Node) -> list[Node]:
        """The nodes that read this one, looking through what is computed where it is read."""
        found: list[Node] = []
        stack, seen = list(self.users[node]), set()
        while stack:
            user = stack.pop()
            if user in seen:
                continue
            seen.add(user)
            if user in self.inline:
                stack.extend(self.users[user])
            else:
                found.append(user)
        return sorted(found, key=self.position.__getitem__)

    def _plain(self, node: Node, unit: Unit) -> bool:
        """Whether the unit can compute the node itself: its loops read it, and through broadcasts only."""
        seen: set[Node] = set()
        stack = [(node, user) for user in self.users[node]]
        while stack:
            x, user = stack.pop()
            leads = user in self.inline
            if (
                (leads or self.unit.get(user) is unit)
                and self._awkward(x, user)
                and (not leads or self._leads(user, unit))
            ):
                return False
            if leads and user not in seen:
                seen.add(user)
                stack.extend((user, further) for further in self.users[user])
        return True

    def _awkward(self, x: Node, user: Node) -> bool:
        """Whether `user` needs x in memory."""
        if not is_loop(user) or user in self.riders or user.op == "take":
            return True
        return any(y is x and not plain for y, plain in self.reads[user])

    def _leads(self, node: Node, unit: Unit) -> bool:
        return any(self.unit.get(reader) is unit for reader in self._readers(node))

    def _fits(self, node: Node, unit: Unit) -> bool:
        if unit.anchor is not None and unit.anchor.op != "dot":
            return False
        if node.op == "dot":
            return unit.anchor is None and self._can_be_epilogue(node, unit)
        kind = OPS[node.op].kind
        if leaves(node):
            return False
        if unit.anchor is not None:
            return kind == "elementwise" and node.shape == unit.space
        return joined_space(space_of(node), unit.space) is not None

    def _can_be_epilogue(self, dot: Node, unit: Unit) -> bool:
        if unit.space != dot.shape or len(dot.shape) != 2:
            return False
        return all(OPS[m.op].kind == "elementwise" for m in self._computed(unit))

    def _computed(self, unit: Unit) -> list[Node]:
        """Members and all that is computed inside for them."""
        found, stack = set(unit.members), list(unit.members)
        while stack:
            for x, _ in self.reads[stack.pop()]:
                if x in self.inline and x not in found:
                    found.add(x)
                    stack.append(x)
        return [x for x in found if x.op != "iota"]

    def _place(self, node: Node) -> None:
        if leaves(node):
            self._new(node, anchor=False)
            return
        readers = [u for u in dict.fromkeys(self.unit[r] for r in self._readers(node) if r in self.unit)]
        hosts = [u for u in readers if self._fits(node, u) and self._plain(node, u)]
        hosts.sort(key=self._first)
        chosen: Unit | None = None
        for unit in hosts:
            others = [u for u in readers if u is not unit]
            if not others or not self._reaches(others, unit):
                chosen = unit
                break
        if chosen is None:
            self._new(node, anchor=node.op == "dot")
            return
        chosen.members.add(node)
        self.unit[node] = chosen
        if node.op == "dot":
            chosen.anchor = node
            return
        chosen.space = joined_space(space_of(node), chosen.space) or chosen.space
        for unit in hosts:
            if unit is not chosen and unit.anchor is None and chosen.anchor is None:
                self._merge(chosen, unit)

    def _first(self, unit: Unit) -> int:
        return min(self.position[m] for m in unit.members)

    def _last(self, unit: Unit) -> int:
        return max(self.position[m] for m in unit.members)

    def _reaches(self, starts: Sequence[Unit], goal: Unit) -> bool:
        """Whether the goal depends on one of the starts, through anything."""
        return self._found_from([m for unit in starts for m in unit.members], goal, {id(unit) for unit in starts})

    def _merge(self, into: Unit, other: Unit) -> bool:
        """Makes one loop of two, where nothing between them has to be waited for."""
        space = joined_space(into.space, other.space)
        if space is None or not self._adjacent(into, other) or not self._adjacent(other, into):
            return False
        into.members |= other.members
        into.space = space
        for m in other.members:
            self.unit[m] = into
        self.units.remove(other)
        return True

    def _adjacent(self, first: Unit, second: Unit) -> bool:
        """Whether the second depends on the first not at all, or directly and in a form that one loop can have."""
        between: list[Node] = []
        stack, seen = [user for m in first.members for user in self.users[m]], set()
        direct = False
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            unit = self.unit.get(node)
            if unit is second:
                direct = True
            elif node in self.inline:
                stack.extend(self.users[node])
            elif unit is not first:
                between.append(node)
        if direct and any(leaves(m) or not self._plain(m, second) for m in first.members if self._leads(m, second)):
            return False
        if second in (self.unit.get(node) for node in between):
            return False
        later = [unit for unit in dict.fromkeys(self.unit.get(node) for node in between) if unit is not None]
        loose = [node for node in between if node not in self.unit]
        return not self._reaches(later, second) and not self._found_from(loose, second, {id(first)})

    def _found_from(self, nodes: Sequence[Node], goal: Unit, visited: set[int]) -> bool:
        stack = [user for node in nodes for user in self.users[node]]
        seen: set[Node] = set()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            unit = self.unit.get(node)
            if unit is goal:
                return True
            if unit is None:
                stack.extend(self.users[node])
            elif id(unit) not in visited:
                visited.add(id(unit))
                stack.extend(user for m in unit.members for user in self.users[m])
        return False

    def _merge_siblings(self) -> None:
        by_tensor: dict[tuple[Node, tuple[Dimension, ...]], list[Unit]] = {}
        for unit in sorted(self.units, key=self._first):
            if unit.anchor is None:
                for x in self._tensors(unit):
                    by_tensor.setdefault((x, unit.space), []).append(unit)
        for group in by_tensor.values():
            for unit in group[1:]:
                first = next((u for u in group if u in self.units), None)
                if first is None or unit is first or unit not in self.units:
                    continue
                if len(self._tensors(first) | self._tensors(unit)) <= MOST_OPERANDS:
                    self._merge(first, unit)

    def _tensors(self, unit: Unit) -> set[Node]:
        """Whole tensors that a loop reads from memory; vectors, for a loop over a vector."""
        found: set[Node] = set()
        stack, seen = list(unit.members), set(unit.members)
        while stack:
            for x, _ in self.reads[stack.pop()]:
                if x in self.inline or x in unit.members:
                    if x not in seen:
                        seen.add(x)
                        stack.append(x)
                else:
                    found |= {x} if x.shape == unit.space else self._as_source(x)
        return found

    def _scheduled(self) -> list[Unit]:
        """Units in an order in which each comes after those that it reads; near to the graph's own order."""
        import heapq

        waits: dict[int, set[int]] = {}
        feeds: dict[int, list[Unit]] = {}
        for unit in self.units:
            needs = {id(self.unit[x]) for x in self._needs(unit)} - {id(unit)}
            waits[id(unit)] = needs
            for need in needs:
                feeds.setdefault(need, []).append(unit)
        ready = [(self._last(u), i, u) for i, u in enumerate(self.units) if not waits[id(u)]]
        heapq.heapify(ready)
        result: list[Unit] = []
        serial = len(self.units)
        while ready:
            _, _, unit = heapq.heappop(ready)
            result.append(unit)
            for user in feeds.get(id(unit), []):
                waits[id(user)].discard(id(unit))
                if not waits[id(user)]:
                    serial += 1
                    heapq.heappush(ready, (self._last(user), serial, user))
        if len(result) != len(self.units):
            raise AssertionError("the units wait for each other in a circle")
        return result

    def _needs(self, unit: Unit) -> set[Node]:
        """Nodes of other units that this one reads."""
        found: set[Node] = set()
        stack, seen = list(unit.members), set(unit.members)
        while stack:
            for x, _ in self.reads[stack.pop()]:
                if x in seen:
                    continue
                seen.add(x)
                if x.op == "project":
                    x = x.inputs[0]
                if x in self.inline or x in unit.members:
                    stack.append(x)
                elif x in self.unit:
                    found.add(x)
        return found


def joined_space(a: tuple[Dimension, ...], b: tuple[Dimension, ...]) -> tuple[Dimension, ...] | None:
    """The space of a loop that computes values of both shapes: one of them, if the other differs only in being one
    number a row."""
    if a == b:
        return a
    if len(a) == len(b) >= 2 and a[:-1] == b[:-1]:
        if a[-1] == 1:
            return b
        if b[-1] == 1:
            return a
    return None
