"""A notebook that was saved as a script has the cells that it had, whoever saved it."""

import json
import time

import jupytext
import nbformat
import pytest
from nbconvert import PythonExporter

from course_lib.authoring.places import parts, slugs
from course_lib.exercises import ROOT
from course_lib.grading.assignment import read_assignment
from course_lib.grading.cells import Unreadable, cells_of
from course_lib.grading.contents import gradable
from course_lib.grading.session import Session, in_order
from tests.grading.honest import colab
from tests.grading.small import RIGHT, code_cell, notebook, task_cell

FIRST = [code_cell("import torch"), code_cell("%%writefile mine.py\nthree = 3"), code_cell("from mine import three")]
BOOK = nbformat.from_dict(notebook([*FIRST, *(task_cell(k, RIGHT[k]) for k in RIGHT)]))


MISTAKES = {
    "a colon is missing": "def mean(x)\n    return x.sum()",
    "a bracket is not closed": "def mean(x):\n    return (x.sum()",
    "a string is not closed": 'def mean(x):\n    """The mean.\n    return x.sum()',
    "a quote is missing": "name = 'ana",
    "no body": "def mean(x):",
    "two depths": "def mean(x):\n    y = x\n  return y",
    "a conflict": "<<<<<<< mine\na = 1\n=======\na = 2\n>>>>>>> theirs",
    "Python 2": "print 'mean'",
    "a comment at the left": "def mean(x)\n# here\n    return x",
}


SCRIPTS = {
    "percent": jupytext.writes(BOOK, "py:percent"),
    "light": jupytext.writes(BOOK, "py:light"),
    "JupyterLab": PythonExporter().from_notebook_node(BOOK)[0],
    "Colab": colab(BOOK.cells),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_every_answer_is_found(script):
    cells = cells_of(script.encode(), "mine.py")
    for answer in RIGHT.values():
        assert any(answer.strip() in cell.source for cell in cells)


@pytest.mark.parametrize("name", ["percent", "light"])
def test_jupytext_keeps_names_and_cell_magics(name):
    cells = cells_of(SCRIPTS[name].encode(), "mine.py")
    assert {cell.name for cell in cells} == {"", *(f"task_07_{k}" for k in RIGHT)}
    assert "%%writefile mine.py\nthree = 3" in [cell.source.strip() for cell in cells]


@pytest.mark.parametrize("name", ["mine.ipynb", "mine.ipynb.txt", "mine.ipynb.json", "mine.py", "mine"])
def test_the_content_says_what_a_file_is(name):
    book = json.dumps(notebook([task_cell(2, RIGHT[2])])).encode()
    for data in (book, RIGHT[2].encode()):
        assert [cell.source.strip() for cell in cells_of(data, name)] == [RIGHT[2].strip()]


@pytest.mark.parametrize("between", ["\n", "\n\n"], ids=["close", "apart"])
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_costs_its_own_statement(mistake, between):
    script = between.join([RIGHT[1].strip(), mistake, RIGHT[3].strip(), RIGHT[4].strip()])
    cells = [cell.source.strip() for cell in cells_of(script.encode(), "mine.py")]
    assert {RIGHT[k].strip() for k in (1, 3, 4)} <= set(cells)
    assert "".join("\n".join(cells).split()) == "".join(script.split())  # nothing is lost, and all is in order


def test_a_thousand_mistakes_take_no_time():
    script = "def f(x)\n    return x\n\n" * 20_000
    start = time.thread_time()
    cells_of((script + RIGHT[2]).encode(), "mine.py")
    assert time.thread_time() - start < 5


@pytest.mark.parametrize("many", ["say it\n", "say it\n\n", "def f(x)\n    return x\n"])
def test_a_script_may_hold_more_mistakes_than_python_may_nest_calls(many):
    script = many * 1500 + RIGHT[2]
    cells = cells_of(script.encode(), "mine.py")
    assert "".join("".join(cell.source.split()) for cell in cells) == "".join(script.split())


def test_a_line_of_the_shell_is_no_mistake():
    script = "!pip install einops\nfiles = !ls\n%cd x\n" + RIGHT[1] + "torch.nn?\n" + RIGHT[2]
    assert {RIGHT[1].strip(), RIGHT[2].strip()} <= {cell.source.strip() for cell in cells_of(script.encode(), "a.py")}


GRADED = [slug for slug in slugs() if gradable(slug, ROOT)]


@pytest.mark.parametrize("slug", GRADED)
def test_what_an_exercise_holds_besides_the_answers_is_known_in_every_script(slug):
    """Its checks call functions that an answer may not use, so a check taken for an answer would be forbidden."""
    assignment = read_assignment(slug)
    read = nbformat.read(parts(slug)["solution"], 4)
    texts = [cell.source for cell in read.cells if cell.cell_type == "code"]
    scripts = {how: jupytext.writes(read, f"py:{how}") for how in ("percent", "light")}
    scripts |= {"JupyterLab": PythonExporter().from_notebook_node(read)[0], "Colab": colab(read.cells)}
    scripts |= {
        "by hand": "\n".join(texts),
        "Colab, with a shell line": "!pip install einops\n\n" + colab(read.cells),
    }
    for how, script in scripts.items():
        cells = cells_of(script.encode(), "mine.py")
        left = [cell for cell in in_order(cells, assignment) if "exercise.check" in cell.source]
        assert not left, f"{how}: {left[0].source}"
        found = Session(None, assignment, cells, seed="", seconds=1)
        assert not [task.name for task in assignment.tasks if found.forbidden(task)], how


def test_an_untouched_task_of_a_script_comes_before_its_answer():
    assignment = read_assignment("01_addressing")
    stub, answer = assignment.stubs["task_01_2"], assignment.answers["task_01_2"]
    cells = in_order(cells_of(f"{answer}\n\n\n{stub}".encode(), "mine.py"), assignment)
    untouched = ["is yours to write" in cell.source for cell in cells]
    assert sum(untouched) == 3 and untouched == sorted(untouched, reverse=True)


def test_a_mistake_in_an_unmarked_script_costs_its_own_paragraph():
    script = "import torch\n\ndef broken(:\n    pass\n\n" + RIGHT[2]
    assert RIGHT[2].strip() in [cell.source.strip() for cell in cells_of(script.encode(), "mine.py")]


NEITHER = {
    "a picture": b"\x89PNG\r\n" + bytes(range(256)),
    "a page": b"<html><p>mine</p></html>",
    "notes": b"# Notes\nDone.",
}


@pytest.mark.parametrize("data", NEITHER.values(), ids=NEITHER)
def test_what_is_neither_is_told(data):
    with pytest.raises(Unreadable):
        cells_of(data, "mine.ipynb")
