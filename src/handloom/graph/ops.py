"""Every operation of the graph: its name, its kind, and the dataclass that holds what else it needs.

The kinds tell passes what they may do:
    leaf          no inputs: program inputs and constants
    elementwise   equal shapes in, that shape out
    view          the same elements, arranged otherwise
    reduce        axes summed or maximised away (kept as size 1)
    contract      matrix products
    composite     defined by primitives in composites.py
    special       everything with a generator of its own
What an operation means stands in tables keyed by these names: infer.INFER, reference.REFERENCE, gradients.GRADIENTS
and code generation's tables.
"""

from __future__ import annotations

from dataclasses import dataclass

from handloom.graph.node import Dimension, Node


@dataclass(frozen=True)
class InputAttrs:
    """Program input number `index`; `name` is for people."""

    index: int
    name: str
    shape: tuple[Dimension, ...]
    dtype: str


@dataclass(frozen=True)
class ConstantAttrs:
    """A scalar. Stored as Python's float, int or bool."""

    value: float | int | bool
    dtype: str

    def __hash__(self) -> int:
        return hash((repr(self.value), self.dtype))

    def __eq__(self, other: object) -> bool:
        # −0.0 and 0.0 are different constants, and so are 1 and 1.0
        return isinstance(other, ConstantAttrs) and (repr(self.value), self.dtype) == (repr(other.value), other.dtype)


@dataclass(frozen=True)
class DtypeAttrs:
    dtype: str


@dataclass(frozen=True)
class ShapeAttrs:
    shape: tuple[Dimension, ...]


@dataclass(frozen=True)
class PermutationAttrs:
    axes: tuple[int, ...]


@dataclass(frozen=True)
class AxesAttrs:
    axes: tuple[int, ...]


@dataclass(frozen=True)
class AxisAttrs:
    axis: int


@dataclass(frozen=True)
class SliceAttrs:
    """Along `axis`, elements start … start + size − 1."""

    axis: int
    start: Dimension
    size: Dimension


@dataclass(frozen=True)
class PadAttrs:
    """Zeros along `axis`: `low` before and up to `size` in all."""

    axis: int
    low: Dimension
    size: Dimension


@dataclass(frozen=True)
class IotaAttrs:
    """0, 1, 2 … along `axis`, i32."""

    shape: tuple[Dimension, ...]
    axis: int


@dataclass(frozen=True)
class DotAttrs:
    """The last two axes are multiplied, the others are batches; an operand may be given transposed.

    narrow: operands, f32 or bf16, are rounded to bf16 and multiplied as such, and their products summed in f32.
    panels: the right operand is a matrix of that many columns as `panels` lays it out.
    """

    transpose_a: bool = False
    transpose_b: bool = False
    narrow: bool = False
    panels: int | None = None


@dataclass(frozen=True)
class PanelsAttrs:
    """A matrix [K, N], or [N, K] if `transposed`, laid out as products read it: [panels, K + padding, columns].

    What lies beyond the matrix may be anything. narrow: rounded to bf16, with two k's in a u32, the first one low.
    """

    columns: int
    transposed: bool = False
    narrow: bool = False

    def shape(self, k: int, n: int) -> tuple[int, int, int]:
        """K is padded to a multiple of 16 groups, and by one more, so that panels do not share the sets of a cache."""
        groups = -(-k // 2) if self.narrow else k
        return -(-n // self.columns), -(-groups // 16) * 16 + 1, self.columns


@dataclass(frozen=True)
class RowsAttrs:
    rows: Dimension


@dataclass(frozen=True)
class RandomAttrs:
    """`site` tells two random values of one program apart."""

    shape: tuple[Dimension, ...]
    site: int


@dataclass(frozen=True)
class NormAttrs:
    epsilon: float


@dataclass(frozen=True)
class AttentionAttrs:
    """Attention over packed sequences.

    Operands: q, k, v, starts i32 [sequences + 1] of the queries, key_starts and key_ends i32 [sequences] of the keys
    (which may have gaps between sequences, as those of a cache do), then what the attributes ask for.
    heads: of the queries. key_value_heads: a divisor of heads; query head h reads key head h // (heads // that).
    head_size: elements of a head. scale: of the scores. causal: no key after the query's position.
    window: only keys closer than this to the query's position (1: itself). dropout: rate for probabilities, with the
    random numbers of `site` (see graph.philox) at row = query token · heads + head, column = key within its sequence.
    reach: there is one more operand, f32 [heads, 2·reach + 1], added to the scaled scores: what stands at `reach` +
    (key − query) for distances up to `reach`, and at the ends for farther ones. soft_cap: scores s, bias included,
    become cap · tanh(s / cap). buckets: there are three more operands, terms of queries f32 [heads, tokens, buckets],
    of keys f32 [heads, key tokens, buckets], and the bucket i32 [2·far + 1] of each distance key − query from −far to
    far (farther ones are as the ends): to the product of a query and a key their terms of that bucket are added, before
    it is scaled. longest: a sequence has at most so many keys, however many the cache
    has that they lie in; None: perhaps all.
    """

    heads: int
    key_value_heads: int
    head_size: int
    scale: float
    causal: bool = False
    window: int | None = None
    dropout: float = 0.0
    site: int = 0
    reach: int | None = None
    soft_cap: float | None = None
    longest: int | None = None
    buckets: int | None = None
    far: int = 0


@dataclass(frozen=True)
class CrossEntropyAttrs:
    """Operands: x, w, labels and perhaps a bias. ignore: the label of rows that count nothing. smoothing: the share of
    a label that is spread over all classes. gradients: whether dx, dw and (with a bias) dbias are results, too. narrow:
    as of a product, for the logits and for both gradients."""

    ignore: int = -100
    smoothing: float = 0.0
    gradients: bool = False
    narrow: bool = False


@dataclass(frozen=True)
class ProjectAttrs:
    index: int


@dataclass(frozen=True, eq=False)
class Body:
    """The subgraph of a scan: `inputs` are its own input nodes, in the order carried, scanned, constant."""

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]


@dataclass(frozen=True)
class ScanAttrs:
    """`carried` values go from step to step, `scanned` are read along their first axis, the rest stays constant.

    The body's outputs are the new carried values, then what is stacked along a first axis. `reverse` walks from the
    last step to the first and stacks in place.
    """

    body: Body
    carried: int
    scanned: int
    length: Dimension
    reverse: bool = False


@dataclass(frozen=True)
class ReplayAttrs:
    """Steps that rows have missed, made up for: see `replay` in tensor/rows.py.

    body: scalars in and out; from the states of one element and the numbers of one step to the states after it.
    rest: the same for an element of a row whose states but the first are all zero, and stay so: its first state.
    """

    body: Body
    rest: Body


@dataclass(frozen=True)
class Op:
    name: str
    kind: str
    arity: int | None  # None: any number
    attrs: type | None = None
    differentiable: bool = True


OPS: dict[str, Op] = {
    op.name: op
    for op in (
        Op("input", "leaf", 0, InputAttrs),
        Op("constant", "leaf", 0, ConstantAttrs),
        Op("iota", "leaf", 0, IotaAttrs, False),
        *(
            Op(name, "elementwise", 1)
            for name in ("negative", "exp", "log", "sqrt", "rsqrt", "tanh", "erf", "sigmoid", "absolute", "sin", "cos")
        ),
        *(Op(name, "elementwise", 1, None, False) for name in ("sign", "floor", "is_finite", "logical_not")),
        *(Op(name, "elementwise", 2) for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")),
        *(
            Op(name, "elementwise", 2, None, False)
            for name in ("less", "less_equal", "equal", "logical_and", "logical_or")
        ),
        Op("where", "elementwise", 3),
        Op("after", "elementwise", 2),  # its first operand, not to be had before the second
        Op("cast", "elementwise", 1, DtypeAttrs),
        Op("stop_gradient", "elementwise", 1, None, False),
        Op("broadcast", "view", 1, ShapeAttrs),
        Op("reshape", "view", 1, ShapeAttrs),
        Op("transpose", "view", 1, PermutationAttrs),
        Op("slice", "view", 1, SliceAttrs),
        Op("flip", "view", 1, AxisAttrs),  # an axis from its end to its beginning
        Op("pad", "special", 1, PadAttrs),
        Op("concatenate", "special", None, AxisAttrs),
        Op("sum", "reduce", 1, AxesAttrs),
        Op("max", "reduce", 1, AxesAttrs),
        Op("dot", "contract", 2, DotAttrs),
        Op("panels", "special", 1, PanelsAttrs, False),
        Op("take", "special", 2),
        Op("scatter_add", "special", 2, RowsAttrs),
        Op("put", "special", 3),  # a table in which rows i32 [n], no two of them equal, have been replaced
        Op("replay", "special", None, ReplayAttrs, False),
        Op("places", "special", 1, RowsAttrs, False),  # where each row number first stands in i32 [n]; n: nowhere
        Op("random_uniform", "special", 1, RandomAttrs, False),
        Op("softmax", "composite", 1),
        Op("log_softmax", "composite", 1),
        Op("layer_norm", "composite", 3, NormAttrs),
        Op("rms_norm", "composite", 2, NormAttrs),
        Op("gelu", "composite", 1),
        Op("gelu_tanh", "composite", 1),
        Op("silu", "composite", 1),
        Op("attention", "special", None, AttentionAttrs),
        Op("attention_backward", "special", None, AttentionAttrs, False),
        Op("linear_cross_entropy", "special", None, CrossEntropyAttrs),
        Op("scan", "special", None, ScanAttrs),
        Op("project", "special", 1, ProjectAttrs),
    )
}

COMPARISONS = frozenset({"less", "less_equal", "equal"})
