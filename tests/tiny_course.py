"""A course of one lesson, written into an empty folder: what the tests of the builder and its commands work on."""

from pathlib import Path

LESSON = """\
# %% [markdown]
# # 01 · Averages
#
# **What is in the middle?**
#
# You will be able to
# - take a mean,
# - draw it,
# - move it.
#
# *Minutes:* 5 · *Needs:* — · *Paper:* Nobody 2018, arXiv 1709.01507 · *Exercise:* exercises/01_averages.ipynb

# %%
import matplotlib.pyplot as plt

from course_lib.exercises import in_words
from course_lib.plotting import describe

in_words(AssertionError("the middle of 1, 2 and 6 is 2"))

# %%
object()

# %%
figure, axes = plt.subplots(figsize=(2, 2))
axes.imshow([[0, 1], [2, 3]], cmap="viridis")
axes.set_title("four pixels")
describe(figure, "four pixels, each lighter than the one before.")

# %% tags=["widget"]
import ipywidgets

ipywidgets.interactive(lambda n: print(n), n=(0, 3))

# %% tags=["static", "folded"]
[0, 1, 2, 3]
"""

SOLUTION = '''\
# %% [markdown]
# # Exercise 01 · Averages
# *Minutes:* 5 · *Needs:* 01

# %%
from course_lib.exercises import Exercise

exercise = Exercise("01_averages", points=[2, 1])

# %% [markdown]
# ## task_01_1 · The mean
# difficulty 1/5 · importance 5/5 · 3 minutes
#
# Write `mean(numbers)`.
# <details><summary>Hint 1</summary> Add, then divide. </details>
# <details><summary>Hint 2</summary> `sum(numbers) / len(numbers)` </details>

# %% tags=["task_01_1"]
def mean(numbers):
    """The sum over the count."""
    ### BEGIN SOLUTION
    return sum(numbers) / len(numbers)
    ### END SOLUTION

# %% tags=["check_01_1"]
with exercise.check(1):
    assert mean([1, 2, 6]) == 3, "the mean of 1, 2 and 6 is 3"

# %% [markdown]
# ## task_01_2 · The count
# difficulty 1/5 · importance 1/5 · 2 minutes
#
# Write `Counter.count`.
# <details><summary>Hint 1</summary> Python has a word for it. </details>
# <details><summary>Hint 2</summary> `len` </details>

# %% tags=["task_01_2"]
class Counter:
    def count(self, numbers):
        ### BEGIN SOLUTION
        return len(numbers)
        ### END SOLUTION

# %% tags=["check_01_2"]
with exercise.check(2):
    assert Counter().count([4, 4]) == 2, "there are two numbers"
'''

PROJECT = '[project.urls]\nRepository = "https://github.com/somebody/a-course"\n'


def tiny_course(root: Path) -> Path:
    """Write sources and a library into ``root``; the builder hashes that one, kernels import the real one."""
    files = {
        "pyproject.toml": PROJECT,
        "README.md": "before\n<!-- lessons -->\n<!-- /lessons -->\nbetween\n<!-- map -->\n<!-- /map -->\nafter\n",
        "notebooks/src/01_averages.py": LESSON,
        "solutions/src/01_averages.py": SOLUTION,
        "course_lib/exercises.py": "from course_lib.inner import words\n",
        "course_lib/inner.py": "words = str\n",
        "course_lib/plotting.py": "describe = str\n",
        "course_lib/other.py": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root
