"""Mechanical mutants of a piece of source: one small change each, wherever the syntax tree allows one.

Signs, operators, comparisons, constants, axes, defaults, exchanged arguments and operands, a call, an attribute, a
keyword or a statement left out: what a slip of the pen or a half-understood formula would leave behind.
"""

import ast
import copy
from collections.abc import Iterator
from typing import NamedTuple

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div}
OPERATORS |= {ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
COMPARISONS = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}

SYMMETRIC = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr, ast.Eq, ast.NotEq, ast.Is, ast.IsNot)  # a ∘ b is b ∘ a


class Mutant(NamedTuple):
    """The line that was changed, what it became, and the whole source with it."""

    right: str
    wrong: str
    source: str


def mutants(source: str, lines: set[int] | None = None) -> Iterator[Mutant]:
    """Every mutant of ``source``, or those that change a node which begins in one of ``lines``."""
    tree, seen = ast.parse(source), {ast.unparse(ast.parse(source))}
    for statement in [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]:
        for place in own_expressions(statement):
            if lines is None or place.lineno in lines:
                for change in changes(place):
                    yield from rendered(tree, statement, place, change, seen)
        if lines is None or statement.lineno in lines:
            yield from rendered(tree, statement, statement, left_out(statement), seen)


def own_expressions(statement: ast.stmt) -> list[ast.expr]:
    """The expressions of a statement, but not of those inside it; axes are the same as (2, 3) and (3, 2)."""
    found, waiting = [], list(ast.iter_child_nodes(statement))
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.keyword) and node.arg == "dim" and isinstance(node.value, ast.Tuple):
            waiting += node.value.elts
        elif not isinstance(node, ast.stmt):
            waiting += ast.iter_child_nodes(node)
            found += [node] if isinstance(node, ast.expr) else []
    return found


def rendered(tree, statement, place, change, seen) -> Iterator[Mutant]:
    """The source with ``place`` replaced by ``change``; nothing where that source was already seen."""
    numbers = {id(node): i for i, node in enumerate(ast.walk(tree))}
    twin = copy.deepcopy(tree)
    nodes = list(ast.walk(twin))
    target, host = nodes[numbers[id(place)]], nodes[numbers[id(statement)]]
    if change is None:
        return
    Replace(target, change).visit(twin)
    text = ast.unparse(ast.fix_missing_locations(twin))
    if text not in seen:
        seen.add(text)
        wrong = first_line(change if place is statement else host)
        yield Mutant(first_line(statement), wrong, text)


class Replace(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, target: ast.AST, change: ast.AST):
        self.target, self.change = target, change

    def visit(self, node: ast.AST) -> ast.AST:
        return self.change if node is self.target else self.generic_visit(node)


def first_line(node: ast.AST) -> str:
    return ast.unparse(node).split("\n")[0]


def left_out(statement: ast.stmt) -> ast.stmt | None:
    """Nothing in the place of a statement, unless the function would lose its result or its name."""
    if isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr | ast.If | ast.Raise | ast.For):
        return ast.Pass()
    return None


def changes(node: ast.expr) -> Iterator[ast.expr]:
    """What might stand in the place of one expression."""
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield from map(number, (value + 1, value - 1))
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in OPERATORS:
                yield ast.BinOp(left, OPERATORS[type(op)](), right)
            if not isinstance(op, SYMMETRIC):
                yield ast.BinOp(right, op, left)
            yield left
            yield right
        case ast.UnaryOp(operand=operand) if not isinstance(operand, ast.Constant):
            yield operand
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            yield from map(number, (-value + 1, -value - 1, value))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            if type(op) in COMPARISONS:
                yield ast.Compare(left, [COMPARISONS[type(op)]()], [right])
            if not isinstance(op, SYMMETRIC):
                yield ast.Compare(right, [op], [left])
        case ast.IfExp(body=body, orelse=other):
            yield body
            yield other
        case ast.Attribute(value=value) if isinstance(node.ctx, ast.Load):
            yield value
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            yield from (type(node)(order, node.ctx) for order in neighbours_exchanged(elements))
        case ast.Call():
            yield from changed_calls(node)


def number(value: float) -> ast.expr:
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def changed_calls(node: ast.Call) -> Iterator[ast.expr]:
    """The call without one keyword, with two arguments exchanged, or only what it was called on."""
    for i in range(len(node.keywords)):
        yield ast.Call(node.func, node.args, node.keywords[:i] + node.keywords[i + 1 :])
    if not ast.unparse(node.func).endswith(".transpose"):  # of the same two axes
        yield from (ast.Call(node.func, order, node.keywords) for order in neighbours_exchanged(node.args))
    if isinstance(node.func, ast.Attribute):
        yield node.func.value
    if node.args:
        yield node.args[0]
    if len(node.args) > 1:
        yield ast.Call(node.func, node.args[:-1], node.keywords)


def neighbours_exchanged(nodes: list) -> Iterator[list]:
    """The list with two neighbours exchanged, for each pair of neighbours."""
    for i in range(len(nodes) - 1):
        yield [*nodes[:i], nodes[i + 1], nodes[i], *nodes[i + 2 :]]
