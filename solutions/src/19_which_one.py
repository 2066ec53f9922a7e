# %% [markdown]
# # Exercise 19 · Which one
#
# FILL IN: what the student builds.
#
# *Minutes:* 20 · *Needs:* 19
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch

from course_lib.exercises import Exercise

exercise = Exercise("19_which_one", points=[2, 2, 3])

# %% [markdown]
# ## task_19_1 · FILL IN: the name of the task
# difficulty 1/5 · importance 5/5 · 5 minutes
#
# FILL IN: what is wanted. Shapes: `scores` n m -> n m.
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


# %% tags=["task_19_1"]
def weights(scores):
    """Weights that sum to 1 for each asking place: n m -> n m."""
    ### BEGIN SOLUTION
    return scores.softmax(dim=-1)
    ### END SOLUTION


# %% tags=["check_19_1"]
with exercise.check(1):
    shares = [round(share, 3) for share in weights(torch.tensor([[1.0, 3.0]]).log())[0].tolist()]
    assert shares == [0.25, 0.75], f"scores log 1 and log 3 share as 1 to 3, not as {shares}"

# %% [markdown]
# ## task_19_2 · FILL IN: the name of the task
# difficulty 1/5 · importance 5/5 · 5 minutes
#
# FILL IN: what is wanted. Shapes: `weights` n m, `values` m d -> n d.
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


# %% tags=["task_19_2"]
def look(weights, values):
    """The values, blended by the weights of each asking place: n m, m d -> n d."""
    ### BEGIN SOLUTION
    return weights @ values
    ### END SOLUTION


# %% tags=["check_19_2"]
with exercise.check(2):
    blend = look(torch.tensor([[0.25, 0.75]]), torch.tensor([[4.0], [8.0]])).tolist()
    assert blend == [[7.0]], f"a quarter of 4 and three quarters of 8 are 7, not {blend}"

# %% [markdown]
# ## task_19_3 · FILL IN: the name of the task
# difficulty 2/5 · importance 5/5 · 10 minutes
#
# FILL IN: what is wanted. Shapes: `x` n d -> n d.
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


# %% tags=["task_19_3"]
def attend(x):
    """Each place asks all places, by the product of their features: n d -> n d."""
    ### BEGIN SOLUTION
    return look(weights(x @ x.mT), x)
    ### END SOLUTION


# %% tags=["check_19_3"]
with exercise.check(3):
    same = attend(torch.tensor([[1.0, 2.0], [1.0, 2.0]])).tolist()
    assert same == [[1.0, 2.0], [1.0, 2.0]], f"a blend of two equal places is that place, not {same}"
