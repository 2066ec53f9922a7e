"""``course new``: the hand-written parts of a lesson, laid out to be filled in.

The templates run as they are; ``course check-lessons`` names every place that still says FILL IN.
"""

import re
from pathlib import Path

from course_lib.authoring.places import parts, slugs
from course_lib.exercises import UsageError

LESSON = '''\
# %% [markdown]
# # NN · TITLE
#
# **FILL IN: the question of the lesson, in one sentence?**
#
# After this lesson you will be able to
#
# - FILL IN: do this;
# - FILL IN: explain that;
# - FILL IN: say where it fails.
#
# *Minutes:* 40 · *Needs:* 01 · *Paper:* FILL IN: Author et al., 2018, arXiv 0000.00000 · *Exercise:* [NN TITLE](../exercises/SLUG.ipynb) · *Module:* [FILL IN](../course_lib/)
#
# Out of scope: FILL IN, and the lesson where it stands.

# %%
import torch

from course_lib.data.photographs import load_photograph
from course_lib.interactive import slider, steer
from course_lib.plotting import show_image, show_images, side_by_side

# %% [markdown]
# ## Look at a real image first
#
# **FILL IN: what to look for in the picture.**

# %%
photograph = load_photograph("cat", height=64)
show_images([photograph, *photograph], ["photograph", "red", "green", "blue"])

# %% [markdown]
# *Alt text:* FILL IN: what the picture shows to somebody who cannot see it.
#
# ## Step one by hand
#
# **FILL IN: the first step in one sentence, for instance: describe each channel by one number, its average.**
# The formula, with the shape of every symbol: $z_c = \\frac{1}{HW} \\sum_{ij} x_{cij}$, `x` c h w, `z` c.


# %%
def squeeze(x):
    """FILL IN: the same sentence. c h w -> c"""
    return x.mean(dim=(-2, -1))


squeeze(torch.tensor([[[1.0], [3.0]], [[5.0], [5.0]]]))  # checked in the head: 2 and 5

# %% [markdown]
# **Predict, then run.** *FILL IN: which shape for two images with three channels?*

# %%
squeeze(torch.zeros(2, 3, 4, 5)).shape

# %% [markdown]
# ## Step two by hand
#
# **FILL IN: the second step likewise, and why it starts as it does.**
#
# ## The loop, the vectors and the library agree
#
# **FILL IN: put the steps together, take the module of `course_lib` with the same weights, and prove them equal.**

# %%
looped = torch.stack([channel.sum() / channel.numel() for channel in photograph])
torch.testing.assert_close(looped, squeeze(photograph))

# %% [markdown]
# ## What it cannot do
#
# **FILL IN: show an input that it cannot tell from another, for instance with its pixels shuffled.**

# %%
order = torch.randperm(photograph[0].numel(), generator=torch.Generator().manual_seed(0))
shuffled = photograph.flatten(1)[:, order].view_as(photograph)
assert torch.allclose(squeeze(shuffled), squeeze(photograph), atol=1e-6)

# %% [markdown]
# ## The experiment
#
# **FILL IN: a claim that could be wrong.** A baseline, three seeds, one plot, an `assert` on the effect.
#
# ## Read the map
#
# **FILL IN: `with record_attention(model) as maps:` and the map on a real image.** Two sentences read it aloud;
# one of them says what it does not show.
#
# ## Steer it
#
# FILL IN: what to move, and what to watch.


# %%
def draw(figure, brightness):
    """The photograph, made darker or lighter."""
    show_image(figure.subplots(), (photograph * brightness).clamp(0, 1), title=f"brightness {brightness}")


# %% tags=["widget"]
steer(draw, brightness=slider("brightness", [0.25, 0.5, 1.0, 2.0]))

# %% tags=["static"]
side_by_side(draw, [{"brightness": 0.25}, {"brightness": 1.0}, {"brightness": 2.0}])

# %% [markdown]
# *Alt text:* FILL IN: the same picture at three settings.
#
# ## The bridge
#
# | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|
# | FILL IN | | | | | |
#
# ## Published numbers
#
# FILL IN: where they are right, and where they must not be compared.
#
# ## Three key points
#
# 1. FILL IN
# 2. FILL IN
# 3. FILL IN
#
# **References.** FILL IN: Author et al., title, venue year, arXiv 0000.00000. **Next:** FILL IN.
'''

SOLUTION = '''\
# %% [markdown]
# # Exercise NN · TITLE
#
# FILL IN: what the student builds.
#
# *Minutes:* 40 · *Needs:* NN

# %%
import torch

from course_lib.exercises import Exercise

exercise = Exercise("SLUG", points=[2])

# %% [markdown]
# ## task_NN_1 · FILL IN: the name of the task
# difficulty 2/5 · importance 5/5 · 10 minutes
#
# FILL IN: what is wanted. Shapes: `x` c h w, result c.
#
# <details><summary>Hint 1: FILL IN, a nudge</summary>
#
# FILL IN: what the likely wrong path overlooks.
# </details>
#
# <details><summary>Hint 2: FILL IN, pseudo-code</summary>
#
# FILL IN: the steps in words.
# </details>


# %% tags=["task_NN_1"]
def squeeze(x):
    """The average of each channel: c h w -> c."""
    ### BEGIN SOLUTION
    return x.mean(dim=(-2, -1))
    ### END SOLUTION


# %% tags=["check_NN_1"]
with exercise.check(1):
    x = torch.tensor([[[1.0, 3.0]], [[5.0, 5.0]]])
    assert squeeze(x).shape == (2,), f"two channels need two numbers, not shape {tuple(squeeze(x).shape)}"
    assert squeeze(x).tolist() == [2, 5], f"the channels average 2 and 5, not {squeeze(x).tolist()}"
'''

HIDDEN = '''\
"""Grades exercise NN on sizes and values that the student has not seen, and names the mistakes people make."""

from course_lib.grading import task, wrong
from tests.properties import assert_same


@task("task_NN_1", hint="FILL IN: all that a student who fails this test reads; never an expected value.")
def test_every_channel_is_averaged(student, draw):
    c, h, w = draw.primes(3)
    x = draw.normal(c, h, w)
    assert_same(student.squeeze(x), x.sum(dim=(1, 2)) / (h * w))


@wrong("task_NN_1")
def squeeze__sums(x):
    """FILL IN: You add the pixels up; divide by how many they are."""
    return x.sum(dim=(-2, -1))
'''

TEMPLATES = {"lesson source": LESSON, "solution source": SOLUTION, "hidden tests": HIDDEN}


def lay_out(number: str, name: str, root: Path) -> str:
    """Write the hand-written parts of lesson ``number`` and return its slug.

    Raises:
        UsageError: if the slug is not one, or any part of the lesson exists already.
    """
    slug = f"{number}_{name}"
    if not re.fullmatch(r"\d\d_[a-z][a-z0-9_]*", slug):
        raise UsageError(f"{slug!r} is no slug; give two digits and lower-case words: course new 16 branch")
    taken = [other for other in slugs(root) if other[:2] == number and other != slug]
    if taken:
        raise UsageError(f"lesson {number} is {taken[0]}; choose another number")
    existing = [path.relative_to(root).as_posix() for path in parts(slug, root).values() if path.exists()]
    if existing:
        raise UsageError(f"{', '.join(existing)} would be overwritten; edit what is there, or move it away")
    for part, text in TEMPLATES.items():
        path = parts(slug, root)[part]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(filled(text, slug), encoding="utf-8")
    return slug


def filled(template: str, slug: str) -> str:
    """The template with the number, the slug and the title of the lesson."""
    title = slug[3:].replace("_", " ").capitalize()
    return template.replace("NN", slug[:2]).replace("SLUG", slug).replace("TITLE", title)
