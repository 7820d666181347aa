"""Graphs as text: stable, readable, and asked for by HANDLOOM_DEBUG."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import handloom as hl
from handloom.graph import build as b
from handloom.graph.node import Node, Size
from handloom.graph.ops import Body, InputAttrs, NormAttrs, ScanAttrs
from handloom.graph.show import changes_text, graph_text


def given(index: int, name: str, *shape: Any, dtype: str = "f32") -> Node:
    return b.make("input", attrs=InputAttrs(index, name, shape, dtype))


TOKENS = Size.symbol("tokens")
X, W, V = given(0, "x", TOKENS, 384), given(1, "w", 384, 384), given(2, "v", 384)


def test_a_line_for_each_node() -> None:
    y = b.make("layer_norm", b.dot(X, W, False, True), V, V, attrs=NormAttrs(1e-12))
    z = b.add(b.multiply(b.unary("tanh", y), 0.5), b.slice_axis(y, 1, 0, 1))
    assert graph_text([z, b.cast(b.reduce("sum", y, (0, 1)), "i32")]) == """\
%x = input : f32[tokens, 384]
%w = input : f32[384, 384]
%0 = dot(%x, %w) transpose_b=True : f32[tokens, 384]
%v = input : f32[384]
%1 = layer_norm(%0, %v, %v) epsilon=1e-12 : f32[tokens, 384]
%2 = tanh(%1) : f32[tokens, 384]
%3 = multiply(%2, 0.5) : f32[tokens, 384]
%4 = slice(%1) axis=1 start=0 size=1 : f32[tokens, 1]
%5 = broadcast(%4) : f32[tokens, 384]
%6 = add(%3, %5) : f32[tokens, 384]
%7 = sum(%1) axes=[0, 1] : f32[1, 1]
%8 = cast(%7) : i32[1, 1]
return %6, %8"""


def test_numbers_and_names_that_come_twice() -> None:
    numbers = [b.full(2.5, (3,), "f32"), b.full(True, (3,), "bool"), b.full(-7, (), "i32")]
    assert graph_text(numbers).endswith("return %0, %1, -7")
    text = graph_text([b.add(given(0, "x", 3), given(1, "x", 3)), b.binary("less", given(2, "u", 3, dtype="u32"), 7)])
    assert "%0 = add(%x, %x.2) : f32[3]" in text and "%1 = less(%u, 7:u32) : bool[3]" in text


def test_names_do_not_depend_on_what_was_built_before() -> None:
    def graph(serial: int) -> list[Node]:
        x = given(serial, "x", 4, 5)
        return [b.unary("tanh", b.multiply(x, x)), b.reduce("max", x, (1,))]

    assert graph_text(graph(10)) == graph_text(graph(500))


def test_the_body_of_a_scan_stands_indented() -> None:
    h, w = given(-1, "h", 5), given(-2, "w", 5)
    body = Body((h, w), (b.unary("tanh", b.multiply(h, w)),))
    scan = b.make("scan", given(0, "h0", 5), given(1, "w0", 5), attrs=ScanAttrs(body, 1, 0, TOKENS))
    assert graph_text([b.project(scan, 0)]) == """\
%h0 = input : f32[5]
%w0 = input : f32[5]
%0 = scan(%h0, %w0) body=(2 inputs) carried=1 scanned=0 length=tokens : f32[5]
    %h = input : f32[5]
    %w = input : f32[5]
    %0 = multiply(%h, %w) : f32[5]
    %1 = tanh(%0) : f32[5]
    return %1
%1 = project(%0) index=0 : f32[5]
return %1"""


def test_what_a_pass_changed() -> None:
    x = given(0, "x", 4)
    assert changes_text([b.unary("tanh", x)], [b.unary("tanh", x)]) == "nothing"
    changed = changes_text([b.unary("tanh", x)], [b.unary("exp", x)])
    assert changed == "− %0 = tanh(%x) : f32[4]\n+ %0 = exp(%x) : f32[4]"


def layer(x: Any, w: Any) -> Any:
    return hl.gelu(x @ w) + 1.0, hl.softmax(x)


ONES = np.ones((3, 8), np.float32), np.ones((8, 4), np.float32)


def test_a_compiled_function_shows_its_graph_units_kernels_and_ir() -> None:
    run = hl.compile(layer, symbols={"x": ("tokens", 8)}, capacity={"tokens": 64})
    with pytest.raises(hl.HandloomError, match="layer has not been compiled yet: call it once"):
        run.show()
    run(*ONES)
    assert run.show("graph").startswith("%x = input : f32[tokens, 8]\n%w = input : f32[8, 4]\n%0 = dot(%x, %w)")
    units = run.show("units").splitlines()
    assert units[0] == "dot over [tokens, 4]: %0, %6 → %6"  # GELU and + 1 are fused into the product
    assert units[1] == "loop over [tokens, 8]: %7, %11, %13 → %13"
    kernels = run.show().splitlines()
    assert kernels[0] == "2 calls, an arena of 0 bytes, planned for tokens=64"
    assert kernels[1].startswith("wave 0  dot.") and kernels[1].endswith(
        "1 task  [%x@input 0, %w@input 1] → [%6@output 0]  0.0041 MFLOP"
    )
    assert "define void @dot." in run.show("ir")
    code = run.show("assembly")
    assert re.search(r"^dot\.\w+:", code, re.M) and "ret" in code and "define" not in code
    with pytest.raises(hl.HandloomError, match="no 'weather' to show; there are graph, units, kernels, ir, assembly"):
        run.show("weather")


def test_kernels_say_what_lies_in_the_arena() -> None:
    run = hl.compile(lambda x, w: hl.softmax(x @ w).sum(0))
    run(*ONES)
    assert "%0 : f32[3, 4], 48 bytes at 0" in run.show()


def test_the_reference_backend_shows_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDLOOM_BACKEND", "reference")
    run = hl.compile(layer)
    run(*ONES)
    assert "gelu(%0)" in run.show("graph")
    with pytest.raises(hl.HandloomError, match="only the graph"):
        run.show("ir")


@pytest.mark.parametrize(
    ("topics", "titles"),
    [
        ("", []),
        ("verify", []),
        ("graph", ["graph"]),
        (
            "passes",
            [f"{name}: what it changed" for name in ("prune", "expand", "join", "sink", "prepack", "legalise")],
        ),
        ("kernels", ["units", "kernels"]),
        ("graph, ir", ["graph", "ir"]),
        ("assembly", ["assembly"]),
    ],
)
def test_what_the_environment_asks_for_is_printed(
    topics: str, titles: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HANDLOOM_DEBUG", topics)
    hl.compile(layer)(*ONES)
    printed = capsys.readouterr()
    assert [line[3:] for line in printed.err.splitlines() if line.startswith("── ")] == titles
    assert printed.out == ""


def test_an_unknown_topic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDLOOM_DEBUG", "graph,kernel")
    with pytest.raises(hl.HandloomError, match="kernel is unknown; it is a comma list of verify, graph, passes"):
        hl.compile(layer)(*ONES)
