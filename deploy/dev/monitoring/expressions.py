"""What a PromQL expression reads: names of series, and the labels that it matches and groups by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser


@dataclass(frozen=True, slots=True)
class Selection:
    """One selector of an expression. ``labels`` are those of its matchers."""

    series: str
    labels: frozenset[str]


def selections(expression: str) -> Iterator[Selection]:
    """The selectors of an expression.

    Raises:
        ValueError: the expression is no PromQL.
    """
    for node in _nodes(promql_parser.parse(expression)):
        if isinstance(node, promql_parser.VectorSelector):
            matchers = [each.name for each in node.matchers.matchers]
            yield Selection(node.name or "", frozenset(matchers) - {"__name__"})


def grouping(expression: str) -> frozenset[str]:
    """The labels by which an expression aggregates and joins.

    Raises:
        ValueError: the expression is no PromQL.
    """
    found: set[str] = set()
    for node in _nodes(promql_parser.parse(expression)):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
            found |= set(modifier.labels)
        if isinstance(node, promql_parser.BinaryExpr) and modifier is not None:
            matching = modifier.matching
            found |= set(matching.labels) if matching is not None else set()
    return frozenset(found)


def functions(expression: str) -> frozenset[str]:
    """The names of the functions that an expression calls.

    Raises:
        ValueError: the expression is no PromQL.
    """
    tree = _nodes(promql_parser.parse(expression))
    return frozenset(node.func.name for node in tree if isinstance(node, promql_parser.Call))


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    match node:
        case promql_parser.BinaryExpr():
            yield from _nodes(node.lhs)
            yield from _nodes(node.rhs)
        case promql_parser.AggregateExpr():
            yield from _nodes(node.expr)
            if node.param is not None:
                yield from _nodes(node.param)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            yield from _nodes(node.expr)
        case promql_parser.MatrixSelector():
            yield from _nodes(node.vector_selector)
        case promql_parser.Call():
            for argument in node.args:
                yield from _nodes(argument)
