"""How a matrix product is cut: blocks of K, tiles, panels, and the grid of tasks.

Everything follows from the shapes and the target, never from a timing or a number of threads, so results and task grids
are the same everywhere. A *tile* is `target.rows` rows of C, a *panel* is `target.columns` columns; a task owns whole
tiles × whole panels over all of K.
"""

from __future__ import annotations

from dataclasses import dataclass

from handloom.codegen.emit import Function, Value, integer
from handloom.codegen.target import Target


@dataclass(frozen=True)
class Blocking:
    """Sizes in elements, tiles or panels. `depth` is the most k's whose panel is packed at once."""

    depth: int
    most_tiles: int  # a task's rows at most: how often a packed panel is used
    least_tiles: int  # rows are not split below this, where columns can be split instead
    most_panels: int  # a task's columns at most: the packed block has to stay in L2
    least_panels: int  # how often a copied tile of A is used; twice as often, where every tile is put together anew
    tasks: int = 12  # wanted at least, where the work allows
    task_work: int = 1 << 20  # multiply-adds that are worth a task of their own


# by width of the vector registers in f32; caches: 32–64 KB of L1, 1 MB or more of L2 (512 KB for narrow vectors)
_TABLE = {
    16: Blocking(depth=384, most_tiles=37, least_tiles=18, most_panels=8, least_panels=2),
    8: Blocking(depth=256, most_tiles=86, least_tiles=20, most_panels=12, least_panels=2),
    4: Blocking(depth=256, most_tiles=86, least_tiles=20, most_panels=12, least_panels=2),
}

# On AMX: half the first cache (48 KB) for a tile of A, while panels stream from the second; as many rows and columns as
# in the table. Worked out from caches and from 16 cycles a tile product; nobody has measured it.
_TILES = Blocking(depth=192, most_tiles=16, least_tiles=8, most_panels=8, least_panels=2, task_work=1 << 22)


def blocking(target: Target) -> Blocking:
    """The table's line for a target."""
    return _TILES if target.amx else _TABLE[target.lanes]


def ceil_div(x: int, y: int) -> int:
    return -(-x // y)


@dataclass(frozen=True)
class Grid:
    """Into how many blocks of rows and of columns one product is cut; a pair of them is a task."""

    row_blocks: int
    column_blocks: int


def grid(m: int, n: int, k: int, target: Target, copied: bool = False) -> Grid:
    """The grid of one product of the batch. `emit_grid` is the same formula in the kernel.

    copied: tiles of A are always put together anew, as transposed ones of bf16 and of narrow registers are (measured
    for MiniLM's dW in bf16: 0.84 of the ceiling with four panels to a tile, 0.78 with two; for a small GPT's with
    AVX2, f32: see `least_panels`).
    """
    table = blocking(target)
    tiles, panels = ceil_div(m, target.rows), ceil_div(n, target.columns)
    wanted = max(1, min(table.tasks, m * n * k // table.task_work))
    rows = ceil_div(tiles, table.most_tiles)
    least = 1 if tiles <= table.least_tiles else table.least_panels * (2 if copied else 1)
    width = min(table.most_panels, max(least, panels * rows // wanted))
    columns = ceil_div(panels, width)
    most_rows = ceil_div(tiles, table.least_tiles)
    return Grid(max(rows, min(most_rows, ceil_div(wanted, columns))), columns)


def emit_grid(
    f: Function, m: Value, n: Value, k: Value, target: Target, copied: bool = False
) -> tuple[Value, Value, Value, Value]:
    """(tiles, panels, row blocks, column blocks) of one product, all i64; the formula of `grid`."""
    table = blocking(target)
    tiles, panels = emit_ceil(f, m, target.rows), emit_ceil(f, n, target.columns)
    work = f.udiv(f.mul(f.mul(m, n), k), table.task_work)
    wanted = smax(f, integer(1), f.smin(work, table.tasks))
    rows = emit_ceil(f, tiles, table.most_tiles)
    few = f.compare("icmp sle", tiles, integer(table.least_tiles))
    least = f.select(few, integer(1), integer(table.least_panels * (2 if copied else 1)))
    width = f.smin(smax(f, least, f.udiv(f.mul(panels, rows), wanted)), table.most_panels)
    columns = emit_ceil(f, panels, width)
    most_rows = emit_ceil(f, tiles, table.least_tiles)
    return tiles, panels, smax(f, rows, f.smin(most_rows, emit_ceil(f, wanted, columns))), columns


def emit_depth(f: Function, k: Value, depth: int) -> Value:
    """How many k's a block has: K cut evenly, in steps of 16, from K alone."""
    blocks = smax(f, emit_ceil(f, k, depth), integer(1))
    return f.mul(emit_ceil(f, emit_ceil(f, k, blocks), 16), 16)


def emit_ceil(f: Function, x: Value, y: Value | int) -> Value:
    """ceil(x / y) for x ≥ 0, y > 0."""
    return f.udiv(f.add(f.add(x, y), -1), y)


def smax(f: Function, x: Value, y: Value) -> Value:
    """The larger of two whole numbers."""
    return f.select(f.compare("icmp sgt", x, y), x, y)
