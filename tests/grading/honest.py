"""Right answers in the styles that students write in: each takes the solved cells of an exercise and hands in a file.

All of them are worth all points, in both sandboxes. ``benchmarks/grading/honest.py`` tries them over all exercises.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

import jupytext
import nbformat
from nbconvert import PythonExporter

from course_lib.grading.assignment import Assignment
from tests.grading.small import code_cell, notebook


class Solved(NamedTuple):
    """The cells of an exercise: what comes first, and for each task its name, its answer and its visible check."""

    prelude: list[str]
    tasks: list[tuple[str, str, str]]


def solved(assignment: Assignment) -> Solved:
    tasks = [(task.name, assignment.answers[task.name], task.check) for task in assignment.tasks]
    return Solved(list(assignment.prelude), tasks)


def named(name: str, source: str) -> dict:
    return code_cell(source, {"nbgrader": {"grade_id": name, "schema_version": 3, "solution": True}, "tags": [name]})


def cells(one: Solved, change: Callable[[str], str] = str, *, before: str = "", after: str = "") -> list[dict]:
    """The notebook's cells, each answer changed, with a cell of the student's own before the tasks and one after."""
    found = [code_cell(source) for source in one.prelude] + ([code_cell(before)] if before else [])
    for name, answer, check in one.tasks:
        found += [named(name, change(answer)), named(name.replace("task", "check"), check)]
    return found + ([code_cell(after)] if after else [])


def book(found: list[dict]) -> bytes:
    return json.dumps(notebook(found)).encode()


def script(one: Solved, how: str) -> bytes:
    return jupytext.writes(nbformat.from_dict(notebook(cells(one))), how).encode()


def exported(one: Solved) -> bytes:
    return PythonExporter().from_notebook_node(nbformat.from_dict(notebook(cells(one))))[0].encode()


def functions(source: str) -> list[str]:
    return re.findall(r"^def (\w+)", source, re.M)


def decorated(decorator: str) -> Callable[[str], str]:
    """The decorator on each function of the answer (not on classes)."""
    return lambda source: re.sub(r"^(?=def )", f"{decorator}\n", source, flags=re.M)


def renamed_after(source: str) -> str:
    """Written under a name of the student's own, and given the asked one at the end."""
    for name in functions(source):
        source = re.sub(rf"\b{name}\b", f"my_{name}", source) + f"\n{name} = my_{name}\n"
    return source


PRINTING = """
import functools
def told(f):
    @functools.wraps(f)
    def call(*a, **k):
        result = f(*a, **k)
        print(f.__name__, getattr(result, "shape", result))
        return result
    return call
"""
SINGLE = """
import functools, torch
def lower(v):
    if isinstance(v, torch.Tensor): return v.float() if v.dtype == torch.float64 else v
    return type(v)(lower(one) for one in v) if type(v) in (list, tuple) else v
def single(f):
    @functools.wraps(f)
    def call(*a, **k): return lower(f(*a, **k))
    return call
"""
COLAB = """
!pip install -q einops
from google.colab import drive, files
drive.mount('/content/drive')
%cd /content/drive/MyDrive
from google.colab.patches import cv2_imshow
"""
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('mine.png')\nplt.show()\n"


def written(one: Solved) -> bytes:
    """Each answer written to a file of its own, and imported from there."""
    found = [code_cell(source) for source in one.prelude]
    for name, answer, check in one.tasks:
        found += [code_cell(f"%%writefile my_{name}.py\n" + "\n".join([*one.prelude, answer]))]
        found += [named(name, f"from my_{name} import *"), code_cell(check)]
    return book(found)


def in_checks(one: Solved) -> bytes:
    """Each answer stands above the check, in the check's cell."""
    found = [code_cell(source) for source in one.prelude]
    for name, answer, check in one.tasks:
        found += [named(name, "# see below"), named(name.replace("task", "check"), answer + "\n" + check)]
    return book(found)


def unmarked(one: Solved) -> bytes:
    text = "\n\n".join([*one.prelude, *(answer + "\n\n" + check for _, answer, check in one.tasks)])
    return ('"""# My exercise\n\nAs Colab saves it."""\n\n' + text).encode()


def one_cell(one: Solved) -> bytes:
    return book([code_cell("\n\n".join([*one.prelude, *(answer for _, answer, _ in one.tasks)]))])


def stubs_below(one: Solved) -> bytes:
    """What was tried first still stands at the end, untouched tasks under answers."""
    return book([*cells(one), code_cell("try:\n    old = undefined_name\nexcept NameError:\n    pass\nold + 1")])


def reordered(one: Solved) -> bytes:
    found = cells(one)
    return book(found[: len(one.prelude)] + found[len(one.prelude) :][::-1])


STYLES: dict[str, tuple[str, Callable[[Solved], bytes]]] = {
    "as handed out": (".ipynb", lambda one: book(cells(one))),
    "without metadata": (".ipynb", lambda one: book([code_cell(cell["source"]) for cell in cells(one)])),
    "one cell": (".ipynb", one_cell),
    "reordered": (".ipynb", reordered),
    "Colab": (".ipynb", lambda one: book(cells(one, before=COLAB))),
    "packages that are not here": (
        ".ipynb",
        lambda one: book(cells(one, lambda source: "import pandas as pd, seaborn\n" + source)),
    ),
    "asks with input": (".ipynb", lambda one: book(cells(one, lambda source: "who = input('?')\n" + source))),
    "plots in each cell": (".ipynb", lambda one: book(cells(one, lambda source: PLOT + source))),
    "a shell line in each cell": (".ipynb", lambda one: book(cells(one, lambda source: "!nvidia-smi\n" + source))),
    "each cell timed": (".ipynb", lambda one: book(cells(one, lambda source: "%%time\n" + source))),
    "magics by get_ipython": (
        ".ipynb",
        lambda one: book(cells(one, lambda s: "get_ipython().run_line_magic('matplotlib', 'inline')\n" + s)),
    ),
    "await": (".ipynb", lambda one: book(cells(one, lambda s: "import asyncio\nawait asyncio.sleep(0.01)\n" + s))),
    "from the future": (".ipynb", lambda one: book(cells(one, lambda s: "from __future__ import annotations\n" + s))),
    "a wrong line above": (".ipynb", lambda one: book(cells(one, lambda s: "1 / 0\n" + s))),
    "a wrong line below": (".ipynb", lambda one: book(cells(one, lambda s: s + "\nundefined_function(3)\n"))),
    "compiled": (".ipynb", lambda one: book(cells(one, decorated("@torch.compile"), before="import torch"))),
    "compiled with options": (
        ".ipynb",
        lambda one: book(cells(one, decorated("@torch.compile(dynamic=True)"), before="import torch")),
    ),
    "printing": (".ipynb", lambda one: book(cells(one, decorated("@told"), before=PRINTING))),
    "single precision": (".ipynb", lambda one: book(cells(one, decorated("@single"), before=SINGLE))),
    "names of its own": (".ipynb", lambda one: book(cells(one, renamed_after))),
    "written to files": (".ipynb", written),
    "answers in the check cells": (".ipynb", in_checks),
    "leftovers": (".ipynb", stubs_below),
    "byte order mark": (".ipynb", lambda one: b"\xef\xbb\xbf" + book(cells(one))),
    "lines end as on Windows": (".ipynb", lambda one: book(cells(one, lambda s: s.replace("\n", "\r\n")))),
    "renamed": (".ipynb.txt", lambda one: book(cells(one))),
    "percent": (".py", lambda one: script(one, "py:percent")),
    "light": (".py", lambda one: script(one, "py:light")),
    "JupyterLab's script": (".py", exported),
    "Colab's script": (".py", unmarked),
    "a script called a notebook": (".ipynb", exported),
}
