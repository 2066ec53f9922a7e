"""Right answers in honest styles earn everything, in both sandboxes."""

import os

import pytest

from course_lib.grading.batch import Grader, Job, Settings
from tests.grading.honest import STYLES, book, cells, solved
from tests.grading.small import SLUG, small_course

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="the sandboxes are Linux's")


@pytest.fixture(scope="module", params=["bubblewrap", "landlock"])
def grader(request, tmp_path_factory):
    root = small_course(tmp_path_factory.mktemp("course"))
    grader = Grader(Settings(SLUG, "a seed", seconds=20, memory=1.5, mode=request.param), root)
    yield grader
    grader.close()


@pytest.mark.parametrize("style", STYLES)
def test_a_right_answer_earns_everything(grader, style):
    suffix, write = STYLES[style]
    record = grader.grade(Job("ana", "", f"mine{suffix}", write(solved(grader.assignment))), alone=True)
    assert record.earned == grader.assignment.points, (record.problem, record.tasks, record.notes)
    assert record.asked == ()


LOOKS_AROUND = """
import glob, importlib, inspect, os, pathlib, sys, colorsys
os.listdir("/"), os.listdir(), os.listdir(os.getcwd()), sorted(pathlib.Path.cwd().iterdir())
list(os.walk(".")), list(os.walk(os.getcwd())), sorted(pathlib.Path.cwd().rglob("*.ipynb"))
glob.glob("images/test_*.png"), glob.glob("/content/drive/MyDrive/**/*.ipynb", recursive=True)
sys.path.append("/content/drive/MyDrive/solutions")
open("tests/cat.png")
open("/content/drive/MyDrive/solutions/07_small.ipynb")
open("test_07_mine.py", "w").write("right = True")
open("test_07_mine.py").read()
importlib.invalidate_caches()
import telnetlib
import tests
inspect.getsource(inspect), inspect.stack()
import pytest
pytest.main(["-q"])
"""


def test_who_looks_around_is_accused_of_nothing(grader):
    data = book(cells(solved(grader.assignment), before=LOOKS_AROUND))
    record = grader.grade(Job("ana", "", "mine.ipynb", data), alone=True)
    assert record.earned == grader.assignment.points and record.asked == ()
