"""What a notebook's cell may hold that Python alone does not know: magics, shell lines, await, Colab's names.

IPython's own translation turns a cell into Python; here stands what that Python then calls. Nothing is downloaded or
installed, and no other program runs: such lines do nothing.
"""

import __future__

import ast
import asyncio
import builtins
import importlib.abc
import importlib.util
import inspect
import linecache
import re
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import suppress

import IPython
from IPython.core.inputtransformer2 import TransformerManager

RUN_LINE = ("time", "timeit", "prun", "memit", "lprun")
RUN_CELL = (*RUN_LINE, "capture")
OPTIONS = re.compile(r"^(?:-[a-zA-Z]+(?:\s*\d+)?\s+)*")
COLAB = ("drive", "files", "output", "userdata", "runtime", "patches", "data_table", "widgets", "auth", "syntax")


class Anything:
    """A stand-in: it can be called, asked, indexed, walked through (it is empty) and entered, and does nothing."""

    def __call__(self, *_: object, **__: object) -> "Anything":
        return self

    def __getattr__(self, name: str) -> "Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, _: object) -> "Anything":
        return self

    def __iter__(self) -> Iterator:
        return iter(())

    def __enter__(self) -> "Anything":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Shell(Anything):
    """What ``get_ipython()`` gives. It runs cells in ``user_ns``, and whatever else it is asked for does nothing."""

    def __init__(self, user_ns: dict):
        self.user_ns = user_ns
        self.flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.written: dict[str, str] = {}
        user_ns.update(get_ipython=lambda: self, display=lambda *_, **__: None)
        IPython.get_ipython = IPython.core.getipython.get_ipython = lambda: self  # type: ignore
        builtins.input = lambda prompt="": ""
        sys.meta_path.append(Written(self.written))
        pretend_colab()

    def run(self, source: str, name: str) -> list[BaseException]:
        """Run a cell statement by statement; a statement that fails does not keep the next ones from running.

        Returns:
            What was raised; a cell that is no Python raises one SyntaxError.
        """
        raised: list[BaseException] = []
        try:
            python = translated(source)
            linecache.cache[name] = (len(python), None, python.splitlines(keepends=True), name)
            statements = self.statements(python, name)
        except Exception as error:
            return [error]
        for statement in statements:
            try:
                code = compile(ast.Module([statement], []), name, "exec", self.flags, dont_inherit=True)
                self.execute(code)  # a ``return`` at the top is refused by the compiler, and costs its line
            except BaseException as error:
                raised.append(error)
        return raised

    def statements(self, python: str, name: str) -> list[ast.stmt]:
        """The statements; ``from __future__ import`` is heard wherever it stands, and by later cells."""
        with warnings.catch_warnings(action="ignore"):
            body = compile(python, name, "exec", self.flags | ast.PyCF_ONLY_AST, dont_inherit=True).body
        future = [one for one in body if isinstance(one, ast.ImportFrom) and one.module == "__future__"]
        for alias in [alias for one in future for alias in one.names]:
            feature = getattr(__future__, alias.name, None)
            self.flags |= feature.compiler_flag if feature else 0
        return [one for one in body if one not in future]

    def execute(self, statement: types.CodeType) -> None:
        awaited = eval(statement, self.user_ns)
        if inspect.iscoroutine(awaited):
            asyncio.get_event_loop().run_until_complete(awaited)

    def run_cell(self, source: str, *_: object, **__: object) -> None:
        for error in self.run(source, "<run_cell>"):
            raise error

    def run_line_magic(self, name: str, line: str = "", *_: object, **__: object) -> object:
        if name in RUN_LINE:
            self.run_cell(OPTIONS.sub("", line))
        elif name == "run" and line.split():
            self.run_cell(self.content(line.split()[0]))
        return None

    def run_cell_magic(self, name: str, line: str, cell: str, *_: object, **__: object) -> None:
        if name in RUN_CELL:
            self.run_cell(cell)
        elif name in ("writefile", "file") and line.split():
            file = line.split()[-1].strip("'\"")
            self.written[file] = self.written.get(file, "") * ("-a" in line.split()) + cell
            with suppress(OSError), open(file, "w", encoding="utf-8") as out:
                out.write(self.written[file])

    def magic(self, line: str) -> object:
        name, _, rest = line.lstrip("%").partition(" ")
        return self.run_line_magic(name, rest)

    def getoutput(self, *_: object, **__: object) -> list[str]:
        return []

    def content(self, file: str) -> str:
        if file in self.written:
            return self.written[file]
        with open(file, encoding="utf-8") as opened:
            return opened.read()


class Written(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that ``%%writefile`` wrote, also where nothing can be written."""

    def __init__(self, files: dict[str, str]):
        self.files = files

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if f"{name}.py" in self.files else None

    def exec_module(self, module: types.ModuleType) -> None:
        file = f"{module.__name__}.py"
        exec(compile(self.files[file], file, "exec"), module.__dict__)


def translated(source: str) -> str:
    """The cell in Python alone. A cell that is Python already stays as it is, whatever it looks like."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(source)
        return source
    except Exception:
        return TransformerManager().transform_cell(source)


def pretend_colab() -> None:
    """``from google.colab import drive`` and what follows from it do nothing."""
    colab = sys.modules["google.colab"] = types.ModuleType("google.colab")
    colab.__path__ = []
    for name in COLAB:
        part = sys.modules[f"google.colab.{name}"] = types.ModuleType(f"google.colab.{name}")
        part.__getattr__ = Anything().__getattr__  # type: ignore[method-assign]
        setattr(colab, name, part)
    try:
        google = importlib.import_module("google")
    except ImportError:
        google = sys.modules["google"] = types.ModuleType("google")
        google.__path__ = []
    setattr(google, "colab", colab)  # noqa: B010 - the type checker knows no such attribute
