"""The rooms of the library: each ``__init__`` is a tour, each file names its lesson, one idea has one name."""

import ast
import inspect
import re
from importlib import import_module
from inspect import Parameter
from itertools import pairwise
from pathlib import Path

import pytest
from torch import nn

from course_lib.catalog import CATALOG, QUESTIONS

LIBRARY = Path(import_module("course_lib").__file__).parent
FILES = [file for room in QUESTIONS for file in sorted((LIBRARY / room).glob("*.py")) if file.stem != "__init__"]
LESSON = {row.module.__module__: row.lesson for row in CATALOG}  # of each file with a mechanism
OLD_WORDS = {  # once names of what is called otherwise in the other modules
    "mask": "attn_mask, True = may attend",
    "heads": "num_heads",
    "reduced": "hidden, the width of the hidden layer",
    "bottleneck": "hidden, the width of the hidden layer",
    "dim": "embed_dim, the length of a token",
}
CARRY_A_STATE = {"ShowAttendTellCell", "SCA", "RecurrentAttention", "OneLayerCore", "TwoLayerCore"}


def name_of(file: Path) -> str:
    return f"course_lib.{file.parent.name}.{file.stem}"


def things(kind) -> list:
    """The public classes or functions of all rooms."""
    modules = [import_module(name_of(file)) for file in FILES]
    return [
        thing
        for module in modules
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", "") == module.__name__ and kind(thing) and not name.startswith("_")
    ]


MODULES = [thing for thing in things(inspect.isclass) if issubclass(thing, nn.Module)]


@pytest.mark.parametrize("room", QUESTIONS)
def test_a_tour_names_every_file_in_the_order_of_the_lessons(room):
    tour = [line.split()[0] for line in import_module(f"course_lib.{room}").__doc__.splitlines()[1:] if line]
    assert sorted(tour) == sorted(file.stem for file in FILES if file.parent.name == room)
    lessons = [LESSON.get(f"course_lib.{room}.{name}") for name in tour]
    assert all(one <= next_ for one, next_ in pairwise(filter(None, lessons)))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_header_names_the_lesson_of_the_catalogue(file):
    named = re.findall(r"^Lesson: notebooks/(\d\d)_\w+\.ipynb$", ast.get_docstring(ast.parse(file.read_text())), re.M)
    if name_of(file) in LESSON:
        assert named == [f"{LESSON[name_of(file)]:02d}"]


def test_one_lesson_has_one_slug():
    paths = {path for file in FILES for path in re.findall(r"^Lesson: (\S+)$", file.read_text(), re.M)}
    assert len({path[:12] for path in paths}) == len(paths), sorted(paths)
    written = {f"notebooks/{source.stem}.ipynb" for source in LIBRARY.parent.glob("notebooks/src/*.py")}
    numbers = {path[:12] for path in written}
    assert {path for path in paths if path[:12] in numbers} <= written


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_what_has_a_default_is_given_by_name(module):
    for name, parameter in inspect.signature(module).parameters.items():
        by_name = parameter.default is Parameter.empty or parameter.kind is Parameter.KEYWORD_ONLY
        assert by_name, f"{module.__name__}({name}={parameter.default!r}) may be given by its place"


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_a_mask_is_given_by_name(row):
    for method in (row.module.attention, row.module.forward):
        mask = inspect.signature(method).parameters.get("attn_mask")
        assert mask is None or mask.kind is Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("thing", things(callable), ids=lambda thing: thing.__qualname__)
def test_one_idea_has_one_name(thing):
    names = set(inspect.signature(thing).parameters)
    if thing.__module__.endswith("deformable"):
        names -= {"mask"}  # torchvision's word for the factor of each tap, which is another idea
    assert {name: OLD_WORDS[name] for name in names & OLD_WORDS.keys()} == {}
    assert "hidden_dim" not in names or thing.__name__ in CARRY_A_STATE, "the width of a hidden layer is hidden"


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_a_mechanism_is_used_in_its_lesson(row):
    (source,) = LIBRARY.parent.glob(f"notebooks/src/{row.lesson:02d}_*.py")
    lines = [line for line in source.read_text(encoding="utf-8").splitlines() if not line.startswith(("from ", "#"))]
    assert re.search(rf"\b{row.name}\b", "\n".join(lines))
