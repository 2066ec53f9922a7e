"""Hostile and broken submissions, graded in one batch: each earns what its code is worth; nothing else happens."""

import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from course_lib.grading.batch import Settings
from course_lib.grading.marks import Marks, Record, marks_from_json
from course_lib.grading.run import grade_folder
from course_lib.grading.store import Store
from tests.grading.hostile import HOSTILE, Hostile
from tests.grading.small import CANARY, POINTS, SLUG, answered, small_course

SEED = "seed-of-the-instructor-77c2"
WATCHED = ("/tmp", "/var/tmp", "/dev/shm", "/etc", "/root", "/usr/lib", str(Path.home()))
HONEST = 6  # honest students in the same batch, whose marks nobody may move

# Reading a file is the same in both sandboxes; what a process may do is not.
ABOUT_FILES = ("damaged", "wrong language", "wrong lesson", "broken", "lies", "breaks the protocol")
SUBMISSIONS = {
    "bubblewrap": HOSTILE,
    "landlock": [one for one in HOSTILE if one.kind not in ABOUT_FILES],
}
EACH = [pytest.param(mode, one, id=f"{mode}-{one.name}") for mode, ones in SUBMISSIONS.items() for one in ones]
both = pytest.mark.parametrize("mode", SUBMISSIONS)

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="the sandboxes are Linux's")


def processes() -> list[str]:
    """Sandboxes of this process, orphaned ones, and survivors under any parent."""
    lines = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True).stdout.splitlines()[1:]
    pairs = [line.split(maxsplit=1) for line in lines]
    ours = {str(os.getpid()), "1"}
    return [
        args for parent, args in pairs if (parent in ours and "sandbox.zygote" in args) or "survivor-of-the" in args
    ]


def escaped() -> list[str]:
    """Files that a submission wrote where it must not."""
    names = ("escaped-from-the-sandbox", "full0", "course-grading-meeting")
    places = [*WATCHED, str(Path(__file__).parents[2] / "course_lib"), os.getcwd()]
    return [f"{place}/{name}" for place in places for name in names if os.path.exists(f"{place}/{name}")]


class Batch(NamedTuple):
    """One graded batch: the marks, the results folder, and what was left behind."""

    marks: Marks
    out: Path
    left: list[str]


def grade_all(ones: list[Hostile], mode: str, folder: Path) -> Batch:
    root, submissions = small_course(folder / "course"), folder / "submissions"
    submissions.mkdir()
    for one in ones:
        (submissions / f"{one.name}{one.suffix}").write_bytes(one.data)
    for number in range(HONEST):
        (submissions / f"honest{number}.ipynb").write_bytes(answered())
    (submissions / "link.ipynb").symlink_to(submissions / "honest0.ipynb")
    os.mkfifo(submissions / "pipe.ipynb")
    store = Store(folder / "results")
    settings = Settings(SLUG, SEED, seconds=4, memory=1.25, mode=mode)
    marks = grade_folder(submissions, store, settings, jobs=6, root=root)
    store.close()
    return Batch(marks, folder / "results", processes() + escaped())


@pytest.fixture(scope="module")
def batches(tmp_path_factory) -> Callable[[str], Batch]:
    """The batch of each sandbox, graded when it is first asked for."""
    return cache(lambda mode: grade_all(SUBMISSIONS[mode], mode, tmp_path_factory.mktemp(mode)))


def record_of(marks: Marks, name: str) -> Record:
    return next(record for record in marks.records if record.student == name)


def earned(record: Record) -> set[int]:
    return {int(task.task[-1]) for task in record.tasks if task.earned}


@pytest.mark.parametrize(("mode", "hostile"), EACH)
def test_the_mark_is_what_the_code_earns(batches, mode: str, hostile: Hostile):
    record = record_of(batches(mode).marks, hostile.name)
    if hostile.earns is None:
        assert record.problem and record.earned is None
    elif hostile.exact:
        assert not record.problem
        assert earned(record) == hostile.earns, [(task.task, task.reason, task.check) for task in record.tasks]
    else:
        assert earned(record) <= hostile.earns


@both
def test_no_other_mark_moves(batches, mode):
    for number in range(HONEST):
        assert record_of(batches(mode).marks, f"honest{number}").earned == sum(POINTS.values())


def test_links_and_pipes_are_not_read(batches):
    records = batches("bubblewrap").marks.records
    assert not [record for record in records if record.student in ("link", "pipe")]


@both
def test_nothing_is_left_behind(batches, mode):
    assert batches(mode).left == []


@both
def test_the_canary_is_found_nowhere_a_student_looks(batches, mode):
    marks, out, _ = batches(mode)
    for page in [*(out / "students").iterdir()]:
        text = page.read_text(encoding="utf-8")
        assert CANARY not in text and SEED not in text and "torch.testing" not in text
    searched = record_of(marks, "searches_for_the_canary").tasks[1]
    assert searched.check == "found: []"


@both
def test_the_instructor_hears_who_asked_for_what_is_not_theirs(batches, mode):
    asked = {record.student: record.asked for record in batches(mode).marks.records if record.asked}
    assert asked.keys() >= {"reads_the_hidden_tests", "imports_the_solution", "reads_its_mother_s_memory"}
    assert "/course/tests/hidden/test_07_small.py" in asked["reads_the_hidden_tests"]
    assert not [one.name for one in SUBMISSIONS[mode] if one.kind == "honest" and one.name in asked]
    assert not [name for name in asked if name.startswith("honest")]


def test_no_hidden_input_reaches_a_page(batches):
    """What a student's exception says on a hidden input stays inside, and no file carries it to a visible check."""
    marks = batches("bubblewrap").marks
    told = record_of(marks, "sends_a_hidden_input_home_in_an_exception").tasks[1]
    assert "[1.0, 2.0, 6.0]" in told.check or "1.0" in told.check  # the visible check's own numbers
    carried = record_of(marks, "sends_a_hidden_input_home_in_a_file").tasks[3]
    assert carried.check == "[1.0, 2.0, 6.0]"


def test_no_word_on_a_page_is_chosen_after_a_hidden_input_was_seen(batches):
    """An exit status, a number in a bad frame or the name of an exception could spell what a call was given."""
    said = {
        task.check for record in batches("bubblewrap").marks.graded for task in record.tasks if task.reason == "died"
    }
    assert "it ended the process (exit 7)" in said  # of a visible check: nothing hidden had been sent
    told = record_of(batches("bubblewrap").marks, "spells_the_input_in_its_exit").tasks[1]
    assert told.reason == "died" and told.check == "it ended the process"


def test_every_death_names_its_task_and_reason(batches):
    reasons = {"os_exit_in_a_call": "died", "loops_for_ever": "timeout", "takes_memory_in_children": "memory"}
    for name, reason in (reasons | {"frame_garbage": "protocol", "returns_nan": "wrong"}).items():
        assert record_of(batches("bubblewrap").marks, name).tasks[1].reason == reason, name


def test_the_marks_survive_writing_and_reading(batches):
    marks, out, _ = batches("bubblewrap")
    assert marks_from_json((out / "marks.json").read_text(encoding="utf-8")) == marks
