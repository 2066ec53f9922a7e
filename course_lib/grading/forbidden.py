"""What an answer uses of what its task is to be answered without, read from the submitted cells; nothing is run.

Only what the answer reaches counts: its own definitions, and those of the helpers, imports and names that they use.
So a cell that compares the answer with the forbidden function costs nothing.
"""

import ast
import copy
import hashlib
import re
import symtable
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path

from course_lib.grading.sandbox.shell import translated

# A word of ``without`` may stand for several ways to come by the same.
MEANT = {"autograd": {"autograd", "backward", "jacrev", "jacfwd", "vjp", "jvp", "functorch"}}
LIBRARY = Path(__file__).resolve().parents[1]
ROOMS = ["basics", "channel", "spatial", "channel_spatial", "branch", "temporal", "spatial_temporal", "cross"]
IMPORTS = (ast.Import, ast.ImportFrom)
LEAST = 25  # nodes of a function that two people do not write alike by chance


def forbidden_use(cells: Iterable[str], answers: set[str], without: Iterable[str]) -> str:
    """The word of ``without`` that an answer uses; "" where it uses none.

    Args:
        cells: the code of the submission, and of the exercise before it.
        answers: the names that the task asks for.
    """
    defined = definitions(tuple(cells))
    parts = list(reached(defined, answers))
    made = {name for name, nodes in defined.items() if not any(isinstance(one, IMPORTS) for one in nodes)}
    for word in without:
        names = MEANT.get(word, {word})
        if any(uses(node, names, made) for node in parts):
            return word
        if word == "course_lib" and any(print_of(one) in library() for node in parts for one in functions(node)):
            return "the library's code"
    return ""


@lru_cache(maxsize=16)  # a submission is asked once for each of its tasks
def definitions(cells: tuple[str, ...]) -> dict[str, list[ast.stmt]]:
    """The statements at the top of the cells, by the names that they give a value; not to be changed."""
    defined: dict[str, list[ast.stmt]] = {}
    for tree in filter(None, map(parsed, cells)):
        for statement in statements(tree):
            for name in bound(statement):
                defined.setdefault(name, []).append(statement)
    return defined


def names_in(stub: str) -> set[str]:
    """The functions and classes that a task asks for."""
    return {name for statement in ast.parse(stub).body for name in bound(statement)}


def parsed(cell: str) -> ast.Module | None:
    try:
        return ast.parse(translated(cell))
    except Exception:  # it does not run in the worker either
        return None


def reached(defined: dict[str, list[ast.stmt]], names: set[str]) -> Iterator[ast.stmt]:
    """Every definition, assignment and import at the top of a cell that the names lead to."""
    waiting, seen = list(names), set(names)
    while waiting:
        for node in defined.get(waiting.pop(), []):
            yield node
            more = global_names(node) - seen
            seen |= more
            waiting += more


def global_names(statement: ast.stmt) -> set[str]:
    """The names that a statement looks for at the top of the notebook: not the parameters and variables of functions.

    A visible check calls its tensors ``query`` and ``key``, too; an answer's own ``query`` has nothing to do with it.
    """
    try:
        tables = [symtable.symtable(ast.unparse(statement), "<cell>", "exec")]
    except Exception:  # too deep: rather too many names than too few
        return {one.id for one in ast.walk(statement) if isinstance(one, ast.Name)}
    found = {one.get_name() for one in tables[0].get_symbols()}
    while tables:
        table = tables.pop()
        tables += table.get_children()
        in_class = isinstance(table, symtable.Class)  # where ``f = f`` reads the f of the top
        symbols = table.get_symbols()
        found |= {one.get_name() for one in symbols if one.is_global() or (in_class and one.is_referenced())}
    return found


def statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """The statements outside of functions and classes, also those in an ``if``, a ``try`` or a ``with``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            if isinstance(node, ast.stmt):
                yield node
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from statements(node)


def bound(statement: ast.stmt) -> set[str]:
    """The names that a statement gives a value; ``Answer.forward = f`` changes Answer."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    stored = {one.id for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    attributes = [one for one in ast.walk(statement) if isinstance(one, ast.Attribute)]
    changed = [one.value for one in attributes if isinstance(one.ctx, ast.Store)]
    return stored | {one.id for one in changed if isinstance(one, ast.Name)}


def uses(node: ast.AST, names: set[str], made: set[str]) -> bool:
    """Whether code names one of ``names``: as an attribute, an import, a name not made here, or in a string."""
    own = made | {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    own |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and one.attr in names:
            return True
        if isinstance(one, ast.Name) and one.id in names - own:
            return True
        if isinstance(one, ast.Import | ast.ImportFrom) and names & paths(one):
            return True
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and names & dotted(one.value):
            return True
    return False


def paths(statement: ast.Import | ast.ImportFrom) -> set[str]:
    module = getattr(statement, "module", None) or ""
    return {part for name in [module, *(alias.name for alias in statement.names)] for part in name.split(".")}


def dotted(text: str) -> set[str]:
    """The parts of a text that is a name, as ``getattr`` takes it, or code, as ``exec`` takes it; prose has none."""
    if re.fullmatch(r"[\w.]+", text):
        return set(text.split("."))
    tree = parsed(text) if re.search(r"[(=]|\bimport\b", text) else None
    nodes = list(ast.walk(tree)) if tree else []
    return {one.attr for one in nodes if isinstance(one, ast.Attribute)} | {
        part for one in nodes if isinstance(one, ast.Import | ast.ImportFrom) for part in paths(one)
    }


def functions(node: ast.AST) -> list[ast.FunctionDef]:
    return [one for one in ast.walk(node) if isinstance(one, ast.FunctionDef)]


@cache
def library() -> set[str]:
    """What the functions of the library look like, whatever their names are called."""
    files = [file for room in ROOMS for file in (LIBRARY / room).glob("*.py")]
    found = {print_of(one) for file in files for one in functions(ast.parse(file.read_text(encoding="utf-8")))}
    return found - {""}


def print_of(function: ast.FunctionDef) -> str:
    """A function without its words: names are numbered, text, types and decorators left out; "" for a short one."""
    plain = copy.deepcopy(function)
    numbers: dict[str, str] = {}
    plain.name, plain.returns, plain.decorator_list = "", None, []
    if ast.get_docstring(plain):
        plain.body = plain.body[1:]
    nodes = list(ast.walk(plain))
    for node in nodes:
        if isinstance(node, ast.arg):
            node.annotation, node.arg = None, numbers.setdefault(node.arg, f"v{len(numbers)}")
        elif isinstance(node, ast.Name):
            node.id = numbers.setdefault(node.id, f"v{len(numbers)}")
        elif isinstance(node, ast.keyword):
            node.arg = None
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return hashlib.sha256(ast.dump(plain).encode()).hexdigest() if len(nodes) >= LEAST else ""
