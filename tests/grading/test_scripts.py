"""A notebook that was saved as a script has the cells that it had, whoever saved it."""

import json

import jupytext
import nbformat
import pytest
from nbconvert import PythonExporter

from course_lib.grading.cells import Unreadable, cells_of
from tests.grading.small import RIGHT, code_cell, notebook, task_cell

FIRST = [code_cell("import torch"), code_cell("%%writefile mine.py\nthree = 3"), code_cell("from mine import three")]
BOOK = nbformat.from_dict(notebook([*FIRST, *(task_cell(k, RIGHT[k]) for k in RIGHT)]))


def colab(book) -> str:
    return "\n\n".join(['"""# A title\n\nWith words.\n"""', *(cell.source for cell in book.cells)])


SCRIPTS = {
    "percent": jupytext.writes(BOOK, "py:percent"),
    "light": jupytext.writes(BOOK, "py:light"),
    "JupyterLab": PythonExporter().from_notebook_node(BOOK)[0],
    "Colab": colab(BOOK),
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
