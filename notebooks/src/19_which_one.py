# %% [markdown]
# # 19 · Which one
#
# **FILL IN: the question of the lesson, in one sentence?**
#
# After this lesson you will be able to
#
# - FILL IN: do this;
# - FILL IN: explain that;
# - FILL IN: say where it fails.
#
# *Minutes:* 45 · *Needs:* 01 · *Paper:* FILL IN: Author et al., Title, 2018, arXiv 0000.00000 · *Exercise:* [19 Which one](../exercises/19_which_one.ipynb) · *Module:* [FILL IN](../course_lib/)
#
# Out of scope: FILL IN, and the lesson where it stands.

# %%
import torch

from course_lib.data.photographs import load_photograph
from course_lib.interactive import slider, steer
from course_lib.plotting import describe, show_image, show_images, show_weights, side_by_side

# %% [markdown]
# ## A photograph, and the question
#
# **FILL IN: what the lesson asks of this picture, and what to look for in it.**

# %%
photograph = load_photograph("cat", height=24)  # c h w
describe(
    show_images([photograph], ["the cat"], width=3.0),
    "FILL IN: what the picture shows to somebody who cannot see it",
)

# %% [markdown]
# ## By hand: *g* says where to look
#
# **FILL IN: the first step in one sentence, for instance: scores become weights that sum to 1.**
# The formula, with the shape of every symbol: $a_{ij} = e^{s_{ij}} / \sum_l e^{s_{il}}$, `s` n m, `a` n m.


# %%
def weights(scores):
    """FILL IN: the same sentence. n m -> n m"""
    return scores.softmax(dim=-1)


weights(torch.tensor([1.0, 1.0, 3.0, 3.0]).log())  # checked in the head: 1, 1, 3 and 3 of 8

# %% [markdown]
# **Before running:** *FILL IN: which shape do two questions to three places give?*

# %% tags=["answer"]
weights(torch.zeros(2, 3)).shape

# %% [markdown]
# ## By hand: *f* looks
#
# **FILL IN: the second step likewise, and why it starts as it does.**


# %%
def look(weights, values):
    """FILL IN: the same sentence. n m, m d -> n d"""
    return weights @ values


# %% [markdown]
# ## The loop, the matrices and the library agree
#
# **FILL IN: put the steps together, take the module of `course_lib` with the same weights, and prove them equal.**

# %%
pixels = photograph.flatten(1).mT  # n c: the values
asking = 12 * photograph.shape[2] + 12  # the pixel in row 12, column 12
scores = -(pixels - pixels[asking]).square().sum(dim=-1)  # n

# %%
looped = sum(weight * value for weight, value in zip(weights(scores), pixels, strict=True))
torch.testing.assert_close(look(weights(scores)[None], pixels)[0], looped)

# %% [markdown]
# ## What it cannot do
#
# **FILL IN: show an input that it cannot tell from another, for instance with its pixels shuffled.**

# %%
order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
torch.testing.assert_close(look(weights(scores[order])[None], pixels[order])[0], looped)

# %% [markdown]
# ## The experiment
#
# **FILL IN: a claim that could be wrong.** A baseline, a control, three seeds, one plot, an `assert` on the effect.
#
# ## Look at the maps
#
# **FILL IN: `with record_attention(model) as maps:` and the map on a real image.** (It stands in `course_lib.recording`; `maps[name][0]` is
# the map of the first call.) Two sentences read it aloud; one of them says what it does not show.
#
# ## Steer it
#
# FILL IN: what to move, and what to watch.


# %% tags=["folded"]
def draw(figure, sharpness):
    """The photograph, and where its asking pixel looks."""
    left, right = figure.subplots(1, 2)
    show_image(left, photograph)
    show_weights(right, weights(sharpness * scores).view_as(photograph[0]), title=f"sharpness {sharpness}")


# %% tags=["widget"]
steer(draw, sharpness=slider("sharpness", [0, 1, 4, 16, 64]))

# %% tags=["static", "folded"]
describe(
    side_by_side(draw, [{"sharpness": 0}, {"sharpness": 4}, {"sharpness": 64}]),
    "FILL IN: what the three pictures show",
)

# %% [markdown]
# ## The bridge
#
# | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|
# | FILL IN | | | | | |
#
# ## What to believe
#
# FILL IN: where published numbers are right, and where they must not be compared.
#
# ## Three things to keep
#
# 1. FILL IN
# 2. FILL IN
# 3. FILL IN
#
# **References.** FILL IN: Author et al., title, venue year, arXiv 0000.00000. **Next:** FILL IN.
