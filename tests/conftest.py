"""What holds for every test: one thread, the order, and what one worker leaves for the other."""

from pathlib import Path

import pytest
import torch

# Two threads gain little on an idle machine and lose much on a busy one.
torch.set_num_threads(1)

collect_ignore = ["offline"]  # only kernels import it: it cuts the network off, and looks trainings up


@pytest.fixture(scope="session")
def learned(tmp_path_factory, worker_id) -> Path:
    """Where the workers of one run write down what a training learned, for each other (offline/remembered.py)."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "learned"
    folder.mkdir(exist_ok=True)
    return folder


# What takes longest begins first; the thousands of short tests come last, and both workers end together. While one
# runs the notebooks, the other builds the website, alone, so that nobody waits for it; the browser comes when the
# notebooks have trained: what they learned is looked up, while two that train side by side would both do the work.
FIRST = ("test_course_runs.py", "website", "grading", "browser", "test_exercises.py", "authoring", "test_cli.py")


def pytest_collection_modifyitems(items):
    items.sort(key=begins)


def begins(item) -> int:
    """The place of a test's room or file in FIRST; the sort is stable."""
    room = item.nodeid.removeprefix("tests/").partition("/")[0].partition("::")[0]
    return FIRST.index(room) if room in FIRST else len(FIRST)
