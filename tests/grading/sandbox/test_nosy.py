"""What a submission asks for that is not its own is heard, and nothing else: no honest notebook is accused."""

import os

import pytest

from course_lib.grading.sandbox.nosy import LONGEST, MOST, Nosy

READ = os.O_RDONLY


def heard(*events: tuple) -> list[str]:
    nosy = Nosy()
    with nosy:
        for event, *arguments in events:
            nosy.hear(event, tuple(arguments))
    nosy.hear("open", ("tests/hidden/afterwards", "r", READ))
    return nosy.found


@pytest.mark.parametrize(
    "path",
    [
        "../tests/hidden/test_07_small.py",
        b"/course/tests/hidden",
        "test_07_small.py",
        "../solutions/src/07_small.py",
        "/autograder/source/run_autograder",
        "../results/marks.json",
        "/proc/1/mem",
        "/proc/1/environ",
    ],
)
def test_what_is_not_its_own_is_heard(path):
    assert heard(("open", path, "r", READ)) == [os.fsdecode(path)]


@pytest.mark.parametrize("event", ["glob.glob", "os.scandir", "os.listdir"])
def test_searches_are_heard(event):
    assert heard((event, "/home/*/tests/hidden")) == ["/home/*/tests/hidden"]
    assert heard((event, "/course/**/test_*.py")) == ["/course/**/test_*.py"]
    assert heard(("import", "tests.hidden.test_07_small", None)) == []  # here, beside them, they are one's own


def test_a_walk_through_everything_is_heard_and_a_look_at_it_is_not(monkeypatch):
    assert heard(("os.scandir", "/")) == ["/"]
    assert heard(("os.listdir", "/")) == []  # ``import`` does that, too
    monkeypatch.chdir("/")  # as under Landlock, where the root is where a submission stands
    assert heard(("os.scandir", "/"), ("os.scandir", os.getcwd())) == []


@pytest.mark.parametrize(
    "path",
    [
        "cat.png",
        "/content/drive/MyDrive/solutions/mine.py",
        "/content/drive/MyDrive/solutions/01_small.ipynb",
        "latest/hidden_layer.txt",
        "test/hidden_states.npy",
        "tests/test_mine.py",
        "images/test_*.png",
        "runs/test_*",
        "landmarks.json",
        "solutions/01_answers.npz",
        "/proc/1/stat",
        "/usr/lib/python3/test/test_os.py",
        "/proc/{me}/status",
        "/proc/self/maps",
        "/sys/fs",
        3,
        None,
    ],
)
def test_what_everybody_may_ask_for_is_not(path):
    path = (
        path.format(me=os.getpid()) if isinstance(path, str) else path
    )  # workers of one run agree on the names of tests
    assert heard(("open", path, "r", READ), ("os.listdir", path)) == []


def test_a_file_that_it_wrote_itself_is_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert heard(("open", "test_07_small.py", "w", os.O_WRONLY | os.O_CREAT)) == []
    (tmp_path / "test_07_small.py").touch()
    assert heard(("open", "test_07_small.py", "r", READ)) == []
    assert heard(("open", "tests/hidden/x", "r", READ)) == ["tests/hidden/x"]
    assert heard(("import", "tests.hidden", None)) == ["import tests.hidden"]


def test_where_nothing_can_be_written_nothing_is_its_own(monkeypatch):
    monkeypatch.chdir("/")  # as under Landlock
    assert heard(("open", "/proc/1/environ", "r", READ)) == ["/proc/1/environ"]


def test_what_it_tried_to_write_is_its_own_where_nothing_can_be_written(monkeypatch):
    monkeypatch.chdir("/")
    name = "test_07_mine.py"
    assert heard(("open", name, "w", os.O_WRONLY | os.O_CREAT), ("open", name, "r", READ)) == []
    assert heard(("open", name, "r+", os.O_RDWR)) == [name]


def test_tests_of_its_own_may_be_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert heard(("import", "tests", None), ("import", "tests.shapes", None), ("import", "test", None)) == []


def test_no_more_is_kept_than_a_page_can_show():
    found = heard(*(("open", f"tests/hidden/{number}{'x' * 999}", "r", READ) for number in (1, 1, *range(99))))
    assert len(found) == MOST and max(map(len, found)) == LONGEST and len(set(found)) == MOST
