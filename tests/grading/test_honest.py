"""Right answers in honest styles earn everything, in both sandboxes."""

import os

import pytest

from course_lib.grading.batch import Grader, Job, Settings
from tests.grading.honest import STYLES, solved
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
