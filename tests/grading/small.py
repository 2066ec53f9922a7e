"""A small exercise of four tasks, written into an empty folder, and notebooks that answer it."""

import json
from pathlib import Path

SLUG = "07_small"
CANARY = "canary-4f1d9b"  # stands in the hidden tests and in the solution; nobody but the grader may ever hold it

SOLUTION = f'''\
# %% [markdown]
# # Exercise 07 · Small
# *Minutes:* 5 · *Needs:* —

# %%
import torch
from torch import nn

from course_lib.exercises import Exercise

exercise = Exercise("07_small", points=[2, 1, 3, 1])

# %% [markdown]
# ## task_07_1 · Softmax
# Over the last axis.

# %% tags=["task_07_1"]
def softmax(x):
    """... m -> ... m."""
    ### BEGIN SOLUTION
    e = (x - x.amax(-1, keepdim=True)).exp()  # {CANARY}
    return e / e.sum(-1, keepdim=True)
    ### END SOLUTION

# %% tags=["check_07_1"]
with exercise.check(1):
    assert torch.equal(softmax(torch.zeros(1, 2)), torch.tensor([[0.5, 0.5]])), "two equal scores share one half each"

# %% [markdown]
# ## task_07_2 · The mean

# %% tags=["task_07_2"]
def mean(x):
    """The sum over the count."""
    ### BEGIN SOLUTION
    return x.sum() / x.numel()
    ### END SOLUTION

# %% tags=["check_07_2"]
with exercise.check(2):
    assert mean(torch.tensor([1.0, 2.0, 6.0])) == 3, "the mean of 1, 2 and 6 is 3"

# %% [markdown]
# ## task_07_3 · A module

# %% tags=["task_07_3"]
class Affine(nn.Module):
    """n c -> n c: each channel scaled and shifted."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        ### BEGIN SOLUTION
        return x * self.scale + self.shift
        ### END SOLUTION

# %% tags=["check_07_3"]
with exercise.check(3):
    assert Affine(2)(torch.ones(1, 2)).shape == (1, 2), "the shape stays"

# %% [markdown]
# ## task_07_4 · Count

# %% tags=["task_07_4"]
def count(mask):
    """How many are True, as an int."""
    ### BEGIN SOLUTION
    return int(mask.sum())
    ### END SOLUTION

# %% tags=["check_07_4"]
with exercise.check(4):
    assert count(torch.tensor([True, False])) == 1, "one of the two is True"
'''

HIDDEN = f'''\
"""Hidden tests of the small exercise."""

import torch

from course_lib.grading import task, wrong

SECRET = "{CANARY}"


@task("task_07_1", hint="Each row sums to one.")
def test_softmax(student, draw):
    x = draw.normal(*draw.primes(3))
    torch.testing.assert_close(student.softmax(x), x.softmax(-1))


@task("task_07_1", hint="Its gradient is that of the formula.")
def test_softmax_gradient(student, draw):
    x, upstream = draw.normal(2, 3).requires_grad_(), draw.normal(2, 3)
    found, right = (torch.autograd.grad((y * upstream).sum(), [x]) for y in (student.softmax(x), x.softmax(-1)))
    torch.testing.assert_close(found, right)


@task("task_07_2", hint="Divide by the number of elements.")
def test_mean(student, draw):
    x = draw.normal(*draw.primes(2))
    torch.testing.assert_close(student.mean(x), x.mean())


@task("task_07_3", hint="Scale, then shift.")
def test_affine(student, draw):
    (channels,) = draw.primes(1)
    module = student.Affine(channels).double()
    scale, shift, x = draw.normal(channels), draw.normal(channels), draw.normal(3, channels).requires_grad_()
    module.load_state_dict({{"scale": scale, "shift": shift}})
    y, factor = module(x), draw.normal(3, channels)
    torch.testing.assert_close(y, x.detach() * scale + shift)
    (y * factor).sum().backward()
    torch.testing.assert_close(x.grad, factor * scale)
    torch.testing.assert_close(module.scale.grad, (factor * x.detach()).sum(0))
    torch.testing.assert_close(module.shift.grad, factor.sum(0))


@task("task_07_4", hint="True counts as one.")
def test_count(student, draw):
    mask = draw.mask(*draw.primes(2))
    assert student.count(mask) == int(mask.sum())


@wrong("task_07_1")
def softmax__over_the_first_axis(x):
    """The softmax runs over the first axis; it must run over the last."""
    return x.softmax(0)


@wrong("task_07_2")
def mean__of_rows(x):
    """This is the sum; it is not divided by the number of elements."""
    return x.sum()
'''

PROJECT = '[project.urls]\nRepository = "https://github.com/somebody/a-course"\n'
POINTS = {1: 2, 2: 1, 3: 3, 4: 1}

RIGHT = {
    1: "def softmax(x):\n    e = (x - x.amax(-1, keepdim=True)).exp()\n    return e / e.sum(-1, keepdim=True)\n",
    2: "def mean(x):\n    return x.sum() / x.numel()\n",
    3: (
        "class Affine(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n"
        "        self.scale = nn.Parameter(torch.ones(channels))\n"
        "        self.shift = nn.Parameter(torch.zeros(channels))\n\n"
        "    def forward(self, x):\n        return x * self.scale + self.shift\n"
    ),
    4: "def count(mask):\n    return int(mask.sum())\n",
}


def small_course(root: Path) -> Path:
    """Write the exercise and its hidden tests below ``root``."""
    files = {
        "pyproject.toml": PROJECT,
        f"notebooks/src/{SLUG}.py": "# %% [markdown]\n# # 07 · Small\n",
        f"solutions/src/{SLUG}.py": SOLUTION,
        f"tests/hidden/test_{SLUG}.py": HIDDEN,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def another_lesson(root: Path, slug: str = "08_other") -> Path:
    """The same exercise once more, under another number."""
    for folder in ("notebooks/src", "solutions/src", "tests/hidden"):
        for path in (root / folder).glob(f"*{SLUG}.py"):
            text = path.read_text(encoding="utf-8").replace(SLUG, slug)
            for what in ("task", "check"):
                text = text.replace(f"{what}_07", f"{what}_{slug[:2]}")
            path.with_name(path.name.replace(SLUG, slug)).write_text(text, encoding="utf-8")
    return root


def task_cell(number: int, source: str) -> dict:
    grade_id = f"task_07_{number}"
    names = {
        "grade_id": grade_id,
        "schema_version": 3,
        "grade": False,
        "locked": False,
        "solution": True,
        "task": False,
    }
    return code_cell(source, {"nbgrader": names, "tags": [grade_id]})


def code_cell(source: str, metadata: dict | None = None) -> dict:
    return {"cell_type": "code", "metadata": metadata or {}, "source": source, "outputs": [], "execution_count": None}


def notebook(cells: list[dict], **metadata: object) -> dict:
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": cells, "metadata": kernel | metadata, "nbformat": 4, "nbformat_minor": 4}


def answered(changes: dict[int, str] | None = None, *, before: str = "", after: str = "") -> bytes:
    """A notebook that answers every task rightly but for ``changes``, with a cell before and one after."""
    cells = [task_cell(number, source) for number, source in (RIGHT | (changes or {})).items()]
    cells = ([code_cell(before)] if before else []) + cells + ([code_cell(after)] if after else [])
    return json.dumps(notebook(cells)).encode()
