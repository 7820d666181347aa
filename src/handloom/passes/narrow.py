"""Products in bf16: operands rounded, sums in f32. Attention, too, has its operands and results in bf16.

Needs: composites are expanded. Promises: the left operand of a narrow product is bf16; the right one, too, or it is a
program input that the product rounds while it packs it (as weights are, so that no second copy of them is kept).

What is rounded besides: a product's result (with its bias) that would be stored in f32 only to be read again by
element-wise code or attention, such as what an activation's derivative needs; and the tensors of which bias gradients
are sums, because a product beside them reads them rounded. All else stays f32: sums of products, weights and their
gradients, moments, the residual stream, statistics, loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handloom.graph import build as b
from handloom.graph.access import VIEWS, access_of, base_of, stored_transposed
from handloom.graph.node import Node, walk
from handloom.graph.ops import OPS
from handloom.graph.rewrite import rebuild, transform

ROUNDED = "bf16"
ATTENTION = frozenset({"attention", "attention_backward"})


def narrow(outputs: Sequence[Node]) -> list[Node]:
    outputs = transform(transform(outputs, _narrowed), _narrow_attention)
    outputs = transform(outputs, _narrow_cross_entropy)
    outputs = _stored(outputs)
    sides = {base_of(node.inputs[0]) for node in walk(outputs) if _is_narrow(node) and _over_rows(node)}
    outputs = transform(outputs, lambda node: _rounded_sum(node, sides))
    return transform(outputs, _rounded_operands)


def _is_narrow(node: Node) -> bool:
    return node.op == "dot" and bool(node.attrs.narrow)


def _over_rows(node: Node) -> bool:
    """Whether a product sums over the rows of both operands: the gradient of a weight."""
    return node.op == "dot" and node.attrs.transpose_a and not node.attrs.transpose_b


# --- which products -------------------------------------------------------------------------------------------------


def _narrowed(node: Node) -> Node | None:
    if node.op != "dot" or node.attrs.narrow or node.dtype != "f32" or len(node.shape) != 2 or not _in_pairs(node):
        return None
    a, w = node.inputs
    return b.dot(a, w, node.attrs.transpose_a, node.attrs.transpose_b, narrow=True)


def _in_pairs(node: Node) -> bool:
    """Whether k's can be read two by two: their number is even, or both operands have them one below the other."""
    a, w = node.inputs
    k = a.shape[0 if node.attrs.transpose_a else 1]
    if isinstance(k, int) and k % 2 == 0:
        return k > 0
    forms = [
        transposed if access is None else stored_transposed(access, transposed)  # one that is no access gets copied
        for access, transposed in ((access_of(a), node.attrs.transpose_a), (access_of(w), node.attrs.transpose_b))
    ]
    return forms == [True, False]


def _narrow_attention(node: Node) -> Node | None:
    """Attention whose operands and results lie in memory as bf16."""
    if node.op == "project" and node.inputs[0].op in ATTENTION and node.dtype == ROUNDED:
        return b.cast(node, "f32")
    if node.op not in ATTENTION or node.inputs[0].dtype != "f32":
        return None
    backward = node.op == "attention_backward"
    # the log-sum-exp, and what stands behind the places of the keys: bias and terms
    exact = [i >= 9 or i == 4 if backward else i >= 6 for i in range(len(node.inputs))]
    return rebuild(node, [x if stays else _rounded(x) for x, stays in zip(node.inputs, exact, strict=True)])


def _narrow_cross_entropy(node: Node) -> Node | None:
    """The output layer: its three products read x [rows, hidden], w [classes, hidden] and slopes [rows, classes]."""
    if node.op != "linear_cross_entropy" or node.attrs.narrow:
        return None
    x, w, *exact = node.inputs  # labels, and perhaps a bias
    if any(isinstance(size, int) and size % 2 for size in w.shape) or x.dtype != "f32":
        return None
    rounded = w if base_of(w).op == "input" else _rounded(w)
    return b.make(node.op, _rounded(x), rounded, *exact, attrs=replace(node.attrs, narrow=True))


# --- what is rounded ------------------------------------------------------------------------------------------------


def _rounded(x: Node) -> Node:
    """x, if it is f32, rounded where it is made: under views of it, so that they go on folding into addresses."""
    if x.dtype != "f32":
        return x
    if x.op == "cast" and x.inputs[0].dtype == ROUNDED:
        return x.inputs[0]
    return rebuild(x, [_rounded(x.inputs[0])]) if x.op in VIEWS else b.cast(x, ROUNDED)


def _rounded_operands(node: Node) -> Node | None:
    if not _is_narrow(node):
        return None
    a, w = node.inputs
    return rebuild(node, [_rounded(a), w if base_of(w).op == "input" else _rounded(w)])


def _rounded_sum(node: Node, sides: set[Node]) -> Node | None:
    if node.op != "sum" or node.inputs[0].dtype != "f32" or base_of(node.inputs[0]) not in sides:
        return None
    if node.inputs[0].op in VIEWS or node.attrs.axes != (0,) or len(node.inputs[0].shape) != 2:
        return None
    return rebuild(node, [b.cast(_rounded(node.inputs[0]), "f32")])


def _stored(outputs: Sequence[Node]) -> list[Node]:
    """Rounds what would be stored between a product and those that read it."""
    order = list(walk(outputs))
    users: dict[Node, list[Node]] = {node: [] for node in order}
    for node in order:
        for x in node.inputs:
            users[x].append(node)

    def readers(node: Node) -> list[Node]:
        return [r for user in users[node] for r in (readers(user) if user.op in VIEWS else [user])]

    kept = {base_of(output) for output in outputs}
    chosen: set[Node] = set()
    for node in order:
        if not _is_narrow(node) or _over_rows(node):
            continue
        result = node
        found = readers(result)
        if len(found) == 1 and found[0].op == "add" and _adds_vector(found[0], node):
            result = found[0]
            found = readers(result)
        plain = all(OPS[r.op].kind == "elementwise" or r.op in ATTENTION or _is_narrow(r) for r in found)
        again = len(set(found)) > 1 or any(r.op in ATTENTION for r in found)
        if plain and again and result not in kept:
            chosen.add(result)
    done: dict[Node, Node] = {}
    for node in order:
        fresh = rebuild(node, [done[x] for x in node.inputs])
        done[node] = b.cast(b.cast(fresh, ROUNDED), "f32") if node in chosen else fresh
    return [done[output] for output in outputs]


def _adds_vector(node: Node, product: Node) -> bool:
    """Whether one vector is added to all rows of a product: a bias."""
    other = next((x for x in node.inputs if x is not product), None)
    if other is None:
        return False
    access = access_of(other)
    return access is not None and len(access.strides) == 2 and access.strides[0] == 0
