"""The builder: text sources become notebooks, one way. Notebooks are never read back into sources."""

import hashlib
import re
from collections import Counter
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_notebook

from course_lib.authoring import sliders
from course_lib.authoring.address import badge, feedback, set_up, written
from course_lib.authoring.closure import library_files, library_hash
from course_lib.authoring.execution import run
from course_lib.authoring.places import parts
from course_lib.authoring.sources import points, read_cells, tagged
from course_lib.exercises import UsageError

KINDS = ("lesson", "solution", "exercise")  # the three notebooks of a slug, by their names in places.parts

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}

TITLE = "# @title"
ANSWER = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION$", re.M | re.S)


def build(slug: str, kind: str, root: Path, *, execute: bool = True, force: bool = False) -> str:
    """Bring one notebook up to date and say what was done: "executed", "written", "unchanged" or "edited".

    An "edited" notebook holds cells that a person changed; it is left alone unless ``force``.
    A notebook is executed only if its code cells, or the library files that it imports, have changed: a sentence that
    was mended is written around the outputs that there are.
    """
    path = parts(slug, root)[kind]
    new, old = generate(slug, kind, root), read(path)
    if old and edited(old) and not force:
        return "edited"
    if kind == "exercise":  # it is released without outputs
        return write(path, new)
    library = library_hash(source_of(slug, kind, root), root)
    if not execute or (is_current(old, new, library) and not force):
        return write(path, with_outputs(new, old))
    sprites = run(new, folder=path.parent, name=f"{kind} {slug}")
    if kind == "lesson":
        sliders.keep(sprites, slug, root)
    new.metadata.course["library"] = library
    new.metadata.course["files"] = library_files(source_of(slug, kind, root), root)  # so that `stale` can name them
    write(path, new)
    return "executed"


def stale(slug: str, kind: str, root: Path) -> str | None:
    """Why a notebook is not what its source makes (in cells, ids or metadata, or with what library), or None."""
    path = parts(slug, root)[kind]
    old = read(path)
    if old is None:
        return "does not exist"
    if edited(old):
        return "was edited by hand"
    if skeleton(old) != skeleton(new := generate(slug, kind, root)):
        return f"does not match its source: {difference(old, new)}"
    executed, source = old.metadata.course.get("library"), source_of(slug, kind, root)  # an exercise never is
    if executed and executed != library_hash(source, root):
        return f"was executed before {changed_files(old, library_files(source, root))} changed"
    return None


def difference(old: NotebookNode, new: NotebookNode) -> str:
    """Where a notebook and what its source makes part ways; cells are counted as in the source."""
    pairs = enumerate(zip_longest(written(old.cells), written(new.cells)), start=1)
    first = next((k for k, (here, there) in pairs if here != there), None)
    if first is not None:
        return f"the first other cell is cell {first}"
    same_text = [cell.source for cell in old.cells] == [cell.source for cell in new.cells]
    return "the tags or other metadata" if same_text else "the address or version in the cells that we add"


def changed_files(notebook: NotebookNode, now: dict[str, str]) -> str:
    """The files of library and data that are not those with which a notebook was executed."""
    then = notebook.metadata.course.get("files", {})
    names = sorted(name for name in then | now if then.get(name) != now.get(name))
    return ", ".join(names) if then else "the library or its data"  # once, nothing was noted


def kinds(slug: str, root: Path) -> list[str]:
    """The notebooks that the sources of a slug make; lesson 00 has no exercise."""
    return [kind for kind in KINDS if source_of(slug, kind, root).exists()]


def source_of(slug: str, kind: str, root: Path) -> Path:
    return parts(slug, root)["lesson source" if kind == "lesson" else "solution source"]


# From source to notebook


def generate(slug: str, kind: str, root: Path) -> NotebookNode:
    """The notebook that the source makes, without outputs: the same bytes on every machine."""
    source = source_of(slug, kind, root)
    cells = read_cells(source)
    if kind != "lesson":
        grade(cells, slug, points(source), source)
    if kind == "exercise":
        cells = [without_answers(cell) for cell in cells]
    cells[1:1] = [set_up(root)]
    if kind == "lesson":
        cells += feedback(slug, root)
    if kind != "solution":  # nbgrader releases solutions/ to students: no link to the answers there
        cells[0].source = badge(parts(slug, root)[kind], root) + cells[0].source
    for cell in cells:
        if "widget" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("nbval-ignore-output")
        fold(cell)
    name_cells(cells)
    return new_notebook(cells=cells, metadata={**METADATA, "course": {"cells": digest(cells)}})


def grade(cells: list[NotebookNode], slug: str, worth: list[int], source: Path) -> None:
    """Write the metadata by which nbgrader, and our own autograder, know tasks and checks."""
    check_tasks(cells, slug[:2], len(worth), source)
    for cell in cells:
        if (k := tagged(cell, "task")) is not None:
            cell.metadata["nbgrader"] = nbgrader(f"task_{slug[:2]}_{k}", solution=True)
        elif (k := tagged(cell, "check")) is not None:
            cell.metadata["nbgrader"] = nbgrader(
                f"check_{slug[:2]}_{k}", grade=True, locked=True, points=worth[k - 1]
            )


def check_tasks(cells: list[NotebookNode], number: str, count: int, source: Path) -> None:
    """Refuse a source whose tasks, checks and points differ in number, or whose answers would not be stripped."""
    for kind in ("task", "check"):
        found = [k for cell in cells if (k := tagged(cell, kind)) is not None]
        if found != list(range(1, count + 1)):
            raise UsageError(
                f"{source} has {kind} cells {found} but points for {count} tasks; "
                f"give points=[…] a number for each task, and "
                f'tag one code cell "{kind}_{number}_k" for each task k, in order'
            )
    for cell in cells:
        is_task, rest = tagged(cell, "task") is not None, ANSWER.sub("", cell.source)
        if is_task != (rest != cell.source) or " SOLUTION" in rest:
            raise UsageError(
                f"{source}: an answer stands between ### BEGIN SOLUTION and ### END SOLUTION in a cell tagged "
                f'"task_{number}_k", and only there; repair the cell that starts {cell.source[:60]!r}'
            )


def nbgrader(name: str, **fields) -> dict:
    empty = {"grade": False, "locked": False, "solution": False, "task": False}
    return {"grade_id": name, "schema_version": 3, **empty, **fields}


def fold(cell: NotebookNode) -> None:
    """Hide until clicked, in JupyterLab and Colab: the source of a "folded" cell, the output of an "answer"."""
    tags = set(cell.metadata.get("tags", []))
    if tags & {"folded", "set-up"}:
        cell.metadata["jupyter"] = {"source_hidden": True}
        cell.metadata["cellView"] = "form"  # Colab folds a cell that has a title
        if not cell.source.startswith(TITLE):
            cell.source = f"{TITLE} Set-up and drawing: click to read\n{cell.source}"
    if "answer" in tags:
        cell.metadata.setdefault("jupyter", {})["outputs_hidden"] = True
        cell.metadata["collapsed"] = True


def without_answers(cell: NotebookNode) -> NotebookNode:
    """The student's side of a cell: answers become a NotImplementedError, and a failing check stops nothing."""
    if tagged(cell, "task") is not None:
        cell.source = stub(cell.metadata.nbgrader.grade_id, cell.source)
    elif tagged(cell, "check") is not None:
        cell.metadata.tags.append("raises-exception")
    return cell


def stub(name: str, source: str) -> str:
    """The cell of task ``name`` as it is handed out."""
    return ANSWER.sub(rf'\1raise NotImplementedError("{name} is yours to write")', source)


def name_cells(cells: list[NotebookNode]) -> None:
    """Ids from type and source, so that a rebuild changes only the ids of changed cells; twins are numbered."""
    seen: Counter[str] = Counter()
    for cell in cells:
        name = hashlib.sha1(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] += 1
        cell["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"


# Notebooks as files


def read(path: Path) -> NotebookNode | None:
    if not path.exists():
        return None
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise UsageError(f"{path} is not a notebook; move it away and run `course build`") from error


def write(path: Path, notebook: NotebookNode) -> str:
    text = nbformat.writes(notebook) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return "unchanged"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return "written"


def digest(cells: list[NotebookNode]) -> str:
    """A hash of what a person may have written: types and sources of the cells."""
    return hashlib.sha1(repr([(cell.cell_type, cell.source) for cell in cells]).encode()).hexdigest()[:16]


def edited(notebook: NotebookNode) -> bool:
    """Whether the cells are not those that the builder wrote; a solved exercise is edited."""
    return notebook.metadata.get("course", {}).get("cells") != digest(notebook.cells)


def is_current(old: NotebookNode | None, new: NotebookNode, library: str) -> bool:
    """Whether ``old`` was executed with this code and this library, at whatever address."""
    return old is not None and old.metadata.course.get("library") == library and code(old) == code(new)


def code(notebook: NotebookNode) -> list[str]:
    """What outputs follow from, but for the library."""
    return [source for kind, source in written(notebook.cells) if kind == "code"]


def with_outputs(new: NotebookNode, old: NotebookNode | None) -> NotebookNode:
    """``new``, with the outputs of ``old`` where both have the same code from the source."""
    if old and code(old) == code(new):
        new.metadata.course = {**old.metadata.course, **new.metadata.course}
        both = ([cell for cell in notebook.cells if cell.cell_type == "code"] for notebook in (new, old))
        for here, there in zip(*both, strict=True):
            here.outputs, here.execution_count = there.outputs, there.execution_count
    return new


def skeleton(notebook: NotebookNode) -> dict:
    """What must be equal on every machine: cells, ids and metadata; neither outputs nor the library's hash."""
    metadata = {**notebook.metadata, "course": {"cells": notebook.metadata.course.get("cells")}}
    cells = [(cell.id, cell.cell_type, cell.source, cell.metadata) for cell in notebook.cells]
    return {"metadata": metadata, "cells": cells, "nbformat": notebook.nbformat}
