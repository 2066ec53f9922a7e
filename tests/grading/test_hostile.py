"""Hostile and broken submissions, graded in one batch: each earns what its code is worth; nothing else happens."""

import os
import subprocess
from pathlib import Path

import pytest

from course_lib.grading.batch import Settings
from course_lib.grading.marks import Marks, Record
from course_lib.grading.run import grade_folder
from course_lib.grading.store import Store
from tests.grading.hostile import HOSTILE, Hostile
from tests.grading.small import CANARY, POINTS, SLUG, answered, small_course

SEED = "seed-of-the-instructor-77c2"
WATCHED = ("/tmp", "/var/tmp", "/dev/shm", "/etc", "/root", "/usr/lib", str(Path.home()))
HONEST = 6  # honest students in the same batch, whose marks nobody may move

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="the sandboxes are Linux's")


def processes() -> set[str]:
    """What runs on this machine, by what it calls itself."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout.splitlines()
    return {line for line in lines if "course_lib.grading.zygote" in line or "survivor-of-the-sandbox" in line}


def escaped() -> list[str]:
    """Files that a submission wrote where it must not."""
    names = ("escaped-from-the-sandbox", "full0", "course-grading-meeting")
    places = [*WATCHED, str(Path(__file__).parents[2] / "course_lib"), os.getcwd()]
    return [f"{place}/{name}" for place in places for name in names if os.path.exists(f"{place}/{name}")]


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> tuple[Marks, Path, list[str]]:
    """All of them graded at once; the marks, the results folder, and what was left behind."""
    root = small_course(tmp_path_factory.mktemp("course"))
    submissions, out = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("results")
    before = processes()
    for one in HOSTILE:
        (submissions / f"{one.name}{one.suffix}").write_bytes(one.data)
    for number in range(HONEST):
        (submissions / f"honest{number}.ipynb").write_bytes(answered())
    (submissions / "link.ipynb").symlink_to(submissions / "honest.ipynb")
    os.mkfifo(submissions / "pipe.ipynb")
    store = Store(out)
    marks = grade_folder(submissions, store, Settings(SLUG, SEED, seconds=6, memory=1.25), jobs=6, root=root)
    store.close()
    return marks, out, sorted(processes() - before) + escaped()


def record_of(marks: Marks, name: str) -> Record:
    return next(record for record in marks.records if record.student == name)


def earned(record: Record) -> set[int]:
    return {int(task.task[-1]) for task in record.tasks if task.earned}


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda one: one.name)
def test_the_mark_is_what_the_code_earns(batch, hostile: Hostile):
    record = record_of(batch[0], hostile.name)
    if hostile.earns is None:
        assert record.problem and record.earned is None
    elif hostile.exact:
        assert not record.problem
        assert earned(record) == hostile.earns, [(task.task, task.reason, task.check) for task in record.tasks]
    else:
        assert earned(record) <= hostile.earns


def test_no_other_mark_moves(batch):
    for number in range(HONEST):
        assert record_of(batch[0], f"honest{number}").earned == sum(POINTS.values())


def test_links_and_pipes_are_not_read(batch):
    assert not [record for record in batch[0].records if record.student in ("link", "pipe")]


def test_nothing_is_left_behind(batch):
    assert batch[2] == []


def test_the_canary_is_found_nowhere_a_student_looks(batch):
    marks, out, _ = batch
    for page in [*(out / "students").iterdir()]:
        text = page.read_text(encoding="utf-8")
        assert CANARY not in text and SEED not in text and "torch.testing" not in text
    searched = record_of(marks, "searches_for_the_canary").tasks[1]
    assert searched.check == "found: []"


def test_no_hidden_input_reaches_a_page(batch):
    """What a student's exception says on a hidden input stays inside, and no file carries it to a visible check."""
    marks = batch[0]
    told = record_of(marks, "sends_a_hidden_input_home_in_an_exception").tasks[1]
    assert "[1.0, 2.0, 6.0]" in told.check or "1.0" in told.check  # the visible check's own numbers
    carried = record_of(marks, "sends_a_hidden_input_home_in_a_file").tasks[3]
    assert carried.check == "[1.0, 2.0, 6.0]"


def test_every_death_names_its_task_and_reason(batch):
    reasons = {"os_exit_in_a_call": "died", "loops_for_ever": "late", "takes_memory_in_children": "memory"}
    for name, reason in (reasons | {"frame_garbage": "protocol", "returns_nan": "wrong"}).items():
        assert record_of(batch[0], name).tasks[1].reason == reason, name


def test_the_marks_survive_writing_and_reading(batch):
    from course_lib.grading.marks import marks_from_json

    assert marks_from_json((batch[1] / "marks.json").read_text(encoding="utf-8")) == batch[0]
