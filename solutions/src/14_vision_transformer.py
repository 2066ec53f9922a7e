# %% [markdown]
# # Exercise 14 · Vision transformer
#
# You cut a film into tubelets, write a block whose branches work side by side, follow attention through the layers, repair an
# interpolation of positions, and count the parameters of the published sizes.
#
# *Minutes:* 60 · *Needs:* 14
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.exercises import Exercise

torch.manual_seed(0)  # the layers of task 2 start at random
exercise = Exercise("14_vision_transformer", points=[2, 4, 3, 3, 3])

# %% [markdown]
# ## task_14_1 · Tubelets
# difficulty 2/5 · importance 5/5 · 10 minutes
#
# A transformer for films (ViViT: Arnab et al., 2021, arXiv 2103.15691) cuts the clip into little boxes, *tubelets*, of `frames` frames with
# `patch_size` × `patch_size` pixels each, and lays every box out as one row of numbers. The boxes come **by time, and at each time row by row**, as one
# reads a page; inside a box the order is **channel, frame, row, column**, as in the weight of a 3-D convolution. `frames` divides the number of
# frames, `patch_size` height and width.
#
# Shapes: `clip` b c t h w -> b n (c·f·p·p), with f = `frames`, p = `patch_size` and n = (t / f) · (h / p) · (w / p).
#
# <details><summary>Hint 1: eight axes</summary>
#
# Split each of the three axes into (which box, where in the box), as the lesson does it for two: `unflatten(3, (-1, p))` splits the height.
# Begin with the last axis, then the numbers of the others stay what they are.
# </details>
#
# <details><summary>Hint 2: their order</summary>
#
# Write down the letters that you have and the letters that you want, in groups: which boxes, then what is in a box. Permute, then flatten
# two groups. A `view` without `permute` keeps the shape right and the numbers wrong.
# </details>


# %% tags=["task_14_1"]
def tubelets(clip, frames, patch_size):
    """The boxes of a film in reading order, each as channel, frame, row, column: b c t h w -> b n (c f p p)."""
    ### BEGIN SOLUTION
    parts = clip.unflatten(4, (-1, patch_size)).unflatten(3, (-1, patch_size)).unflatten(2, (-1, frames))
    parts = parts.permute(0, 2, 4, 6, 1, 3, 5, 7)  # b c k f i y j x -> b k i j c f y x
    return parts.flatten(4).flatten(1, 3)  # -> b (k i j) (c f y x)
    ### END SOLUTION


# %% tags=["folded"]
FILM = torch.arange(144.0).view(
    1, 1, 6, 4, 6
)  # 24·frame + 6·row + column; in boxes of 2 · 2 · 2 three times two rows of three
BOXES = (
    (0, [0, 1, 6, 7, 24, 25, 30, 31], "pixels 0, 1 and, a row below, 6, 7; then the same places one frame later"),
    (1, [2, 3, 8, 9, 26, 27, 32, 33], "the box to the right of the first"),
    (3, [12, 13, 18, 19, 36, 37, 42, 43], "the first box of the second row"),
    (6, [48, 49, 54, 55, 72, 73, 78, 79], "the first box of the next two frames, after all six of the first two"),
)


def two_shapes():
    boxes = tubelets(torch.arange(216.0).view(1, 1, 6, 4, 9), 2, 1)
    assert boxes.shape == (1, 108, 2), (
        f"6 frames of 4 × 9 pixels in boxes of 2 frames and 1 pixel: the result is (1, 108, 2), not {tuple(boxes.shape)}"
    )
    boxes = tubelets(FILM, 2, 2)
    assert boxes.shape == (1, 18, 8), (
        f"6 frames of 4 × 6 pixels in boxes of 2 · 2 · 2: the result is (1, 18, 8), not {tuple(boxes.shape)}"
    )


# %% tags=["folded"]
def frames_stay_inside_their_channel():
    colours = tubelets(torch.cat([FILM, 200 + FILM], dim=1), 2, 2)[0, 0].tolist()
    place = colours.index(200) if 200 in colours else None
    seen = {1: "the channel runs fastest", 4: "each frame comes with all its channels"}.get(place, f"that is {place}")
    assert place == 8, (
        f"inside a box the first channel comes with all its frames: the second one's first pixel is number 8, yours: {seen}"
    )


# %% tags=["check_14_1"]
with exercise.check(1):
    two_shapes()
    boxes = tubelets(FILM, 2, 2)
    for which, numbers, where in BOXES:
        assert boxes[0, which].tolist() == numbers, (
            f"box {which} is {where}: {numbers}, not {[int(v) for v in boxes[0, which].tolist()]}"
        )
    frames_stay_inside_their_channel()
    both = tubelets(torch.cat([FILM, -FILM]), 2, 2)
    assert torch.equal(both[1], -both[0]), "the second film of a batch must be cut like the first"

# %% [markdown]
# ## task_14_2 · Side by side
# difficulty 4/5 · importance 5/5 · 18 minutes
#
# In the lesson's block the MLP waits for the attention. A very large vision transformer (ViT-22B: Dehghani et al., 2023, arXiv 2302.05442) lets both work **side by side, on the same normalised tokens**, which saves a norm and lets the machine join matrices:
#
# $$z' = z + \mathrm{MSA}(\mathrm{LN}(z)) + \mathrm{MLP}(\mathrm{LN}(z))$$
#
# Write `forward` with the layers that are given. MSA is the multi-head look-up of lesson 01: head number k (from 0) uses channels k·e up to, and not including, (k+1)·e of query, key and
# value, with e = `embed_dim // num_heads`; scores are divided by √e; the heads' results stand side by side again before `project`. MLP is
# `expand`, the exact GELU, `contract`.
#
# Shapes: `x` b n d -> b n d, with d = `embed_dim`.
#
# <details><summary>Hint 1: the heads</summary>
#
# `t.unflatten(2, (num_heads, -1)).transpose(1, 2)` makes b s n e of b n d.
# </details>
#
# <details><summary>Hint 2: and back</summary>
#
# Undo both steps, in the other order: first bring the heads beside their channels again, then join the two axes.
# </details>
#
# <details><summary>Hint 3: what is added to what</summary>
#
# Three terms: x itself, untouched, and two branches that never see each other's result.
# </details>


# %% tags=["task_14_2"]
class ParallelBlock(nn.Module):
    """Tokens read each other and think at the same time: b n d -> b n d."""

    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.query, self.key = nn.Linear(embed_dim, embed_dim), nn.Linear(embed_dim, embed_dim)
        self.value, self.project = nn.Linear(embed_dim, embed_dim), nn.Linear(embed_dim, embed_dim)
        self.expand, self.contract = nn.Linear(embed_dim, 4 * embed_dim), nn.Linear(4 * embed_dim, embed_dim)

    def forward(self, x):
        ### BEGIN SOLUTION
        z = self.norm(x)
        query, key, value = (
            layer(z).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )  # b n (s e) -> b s n e
        weights = (query @ key.mT / math.sqrt(query.shape[3])).softmax(dim=-1)  # b s n n
        heard = self.project((weights @ value).transpose(1, 2).flatten(2))  # b s n e -> b n (s e)
        return x + heard + self.contract(F.gelu(self.expand(z)))
        ### END SOLUTION


# %% tags=["folded"]
X = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))


def block_of(heads, *silent):
    """Your block with 12 channels and random weights; the layers named by `silent` at zero."""
    block, generator = ParallelBlock(12, heads), torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    for name in silent:
        nn.init.zeros_(getattr(block, name).weight), nn.init.zeros_(getattr(block, name).bias)
    return block


# %% tags=["folded"]
def torchs(block):
    """torch's own multi-head attention with the weights of your block."""
    module = nn.MultiheadAttention(12, block.num_heads, batch_first=True)
    layers = block.query, block.key, block.value
    module.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
    module.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
    module.out_proj.load_state_dict(block.project.state_dict())
    return lambda z: module(z, z, z, need_weights=False)[0]


def near(one, other):
    return torch.allclose(one, other, atol=1e-4)


# %% tags=["folded"]
def x_itself_comes_through():
    before = X.clone()
    shape = block_of(3)(X).shape
    assert shape == X.shape, f"the result has the shape of x, {tuple(X.shape)}, not {tuple(shape)}"
    assert torch.equal(X, before), "forward changed its input: the caller still needs it"
    nothing = block_of(3, "project", "contract")(X)
    silence = "with `project` and `contract` at zero both branches are silent, and x must come out untouched: "
    assert nothing.any(), silence + "nothing comes out. What are the branches added to?"
    assert not torch.allclose(nothing, 2 * X), silence + "it comes out twice as large"
    assert not near(nothing, block_of(3).norm(X)), silence + "it comes out normalised"
    assert torch.equal(nothing, X), silence + "something else comes out"


# %% tags=["folded"]
def the_mlp_speaks():
    block, think = block_of(3), block_of(3, "project")
    z, found, speaks = block.norm(X), think(X) - X, "with `project` at zero only the MLP speaks, and it "
    assert not near(found, block.contract(F.gelu(block.expand(X)))), (
        speaks + "has read the tokens as they came in: what do both branches read in the formula?"
    )
    assert not near(found, block.contract(F.relu(block.expand(z)))), (
        speaks + "bends like a ReLU; a ViT has another activation"
    )
    assert near(found, block.contract(F.gelu(block.expand(z)))), (
        speaks + "does not say MLP(LN(x)): which layers, in which order?"
    )


# %% tags=["folded"]
def a_token_alone_hears_itself():
    alone, one, three = X[:, :1], block_of(1, "contract"), block_of(3, "contract")
    assert not near(one(alone), alone + one.project(one.value(alone))), (
        "with `contract` at zero and a single token, that token has read its own value before the norm"
    )
    assert near(one(alone), alone + one.project(one.value(one.norm(alone)))), (
        "with `contract` at zero, one head and a single token, that token can only read its own value; yours reads another"
    )
    assert near(three(alone), alone + three.project(three.value(three.norm(alone)))), (
        "a single token hears its own value with one head, with three its channels come back in another order: "
        "which channels belong to one head?"
    )


# %% tags=["folded"]
def one_head():
    same, asks = block_of(1, "contract", "value"), block_of(1, "contract")
    nn.init.ones_(same.value.bias)
    assert near(same(X), X + same.project(torch.ones(12))), (
        "where all tokens hold the same value, each must hear just that; yours hear more or less of it: "
        "over whom do one token's weights sum to 1?"
    )
    assert near(asks(X), X + torchs(asks)(asks.norm(X))), (
        "with one head the weights sum to 1 over the keys, but they are sharper or flatter than they should be, or "
        "queries and keys are exchanged"
    )


# %% tags=["folded"]
def three_heads():
    even, deaf, order = block_of(3, "contract", "query"), block_of(3, "contract"), [3, 0, 4, 1, 2]
    heard = even(X) - X
    assert near(heard, heard[:, :1].expand_as(heard)), (
        "where all tokens ask everybody alike, all must hear the same; yours do not: what happens when the three heads "
        "stand side by side again?"
    )
    assert near(deaf(X[:, order]), deaf(X)[:, order]), (
        "with three heads, tokens in another order no longer come out in that order: did the cut into heads cut tokens?"
    )
    assert near(deaf(X), X + torchs(deaf)(deaf.norm(X))), (
        "one head is right, three are not, though heads are cut and joined well: how long is one head's query?"
    )


# %% tags=["check_14_2"]
with exercise.check(2), torch.no_grad():
    x_itself_comes_through()
    the_mlp_speaks()
    a_token_alone_hears_itself()
    one_head()
    three_heads()
    assert near(block_of(3)(X) - block_of(3, "project")(X), block_of(3, "contract")(X) - X), (
        "each branch alone is right, but not both together: does one read what the other has written?"
    )

# %% [markdown]
# ## task_14_3 · Rollout
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# Follow attention through the layers, and return what the class token (token 0) gathered from each patch:
#
# $$\hat A_l = \text{rows of } \tfrac12 (\bar A_l + I) \text{ divided by their sums} \qquad R = \hat A_L \cdots \hat A_2 \hat A_1$$
#
# $\bar A_l$ is the average over the heads of the map of layer l. In some maps entries have been set to zero, so the sums of
# their rows are *not* 1: that is why rows are divided by their sums. Take the class token's row of R, leave out what it took
# from itself, and lay the rest out as a picture.
#
# Shapes: `maps` a list of b s n n, first layer first; `grid` = (rows, columns) of patches, n = 1 + rows · columns; result
# b rows columns.
#
# <details><summary>Hint 1: one layer</summary>
#
# First the mean over heads, then the shortcut, then every row by its own sum. What shape must the sums have, so that they divide rows and not
# columns? (Both run.)
# </details>
#
# <details><summary>Hint 2: the order</summary>
#
# $R_{ij}$ says how much of *first* token j is in *last* token i. Start with the first layer alone: on which side must the second one stand?
# </details>


# %% tags=["task_14_3"]
def class_rollout(maps, grid):
    """What the class token gathered from each patch: a list of b s n n -> b rows columns."""
    ### BEGIN SOLUTION
    total = identity = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype)
    for attention in maps:
        step = attention.mean(dim=1) + identity  # b s n n -> b n n
        total = step / step.sum(dim=-1, keepdim=True) @ total
    return total[:, 0, 1:].unflatten(1, grid)
    ### END SOLUTION


# %% tags=["folded"]
def towards(*targets):
    """The map in which token i reads only token targets[i]: 1 1 n n."""
    return torch.eye(len(targets))[list(targets)][None, None]


def one_layer():
    one = class_rollout([towards(2, 1, 2)], (1, 2))
    assert one.shape == (1, 1, 2), f"one image, a grid of 1 × 2: the result is (1, 1, 2), not {tuple(one.shape)}"
    seen = {
        (0.0, 1.0): "nothing is left of itself",
        (0.0, 0.0): "you show who reads the class token",
        (0.5, 0.0): "its own share was not the one left out",
    }
    gathered = tuple(one[0, 0].tolist())
    assert gathered == (0.0, 0.5), (
        f"the class token reads patch 2 and, by the shortcut, itself: 0 and 0.5, not {gathered}: "
        + seen.get(gathered, "")
    )


# %% tags=["folded"]
def two_layers():
    early = class_rollout([towards(2, 1, 2), towards(0, 1, 2)], (1, 2))[0, 0].tolist()
    assert early == [0.0, 0.5], (
        f"patch 2 is read in the first layer and nothing in the second: still 0 and 0.5, not {early}; does the first layer count?"
    )
    two = class_rollout([towards(0, 2, 2), towards(1, 1, 2)], (1, 2))[0, 0].tolist()
    assert two == [0.25, 0.25], (
        "in layer 1 patch 1 reads patch 2, in layer 2 the class token reads patch 1: so it has a quarter of each, not "
        f"{two}; which of the two layers came first?"
    )


def rows_that_sum_to_less():
    dropped = class_rollout([torch.tensor([[[[0.0, 0.5, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.0]]]])], (1, 2))[0, 0, 0]
    assert abs(dropped - 0.25) > 1e-4, (
        "the class token has 1 of itself and 0.5 of patch 1, whose share is a third; you give it 0.25: what is the sum of this row?"
    )
    assert abs(dropped - 1 / 3) < 1e-4, (
        f"the class token has 1 of itself and 0.5 of patch 1, whose share is a third, not {dropped:.2f}: "
        "was it divided by another token's sum?"
    )


# %% tags=["check_14_3"]
with exercise.check(3):
    one_layer()
    two_layers()
    rows_that_sum_to_less()
    heads = class_rollout([torch.cat([towards(0, 1, 2), towards(2, 1, 2)], dim=1)], (1, 2))[0, 0, 1].item()
    assert abs(heads - 0.25) < 1e-4, (
        f"one of two heads reads patch 2, the other does not: patch 2 gets 0.25, not {heads:.2f}; how do two heads become one map?"
    )
    picture = class_rollout([towards(3, 1, 2, 3, 4, 5, 6)], (2, 3))[0]
    assert picture.shape == (2, 3), f"a grid of 2 rows and 3 columns, not {tuple(picture.shape)}"
    row, column = divmod(int(picture.argmax()), 3)
    assert (row, column) == (0, 2), (
        f"with 2 × 3 patches, token 3 is the last patch of the first row; yours stands in row {row}, column {column}"
    )

# %% [markdown]
# ## task_14_4 · Repair an interpolation
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# To run a ViT on larger images, its table of positions is stretched like a picture.
# This version runs, it has the right shape, it even keeps the table when the grid stays the same, and it is wrong in three ways.
#
# ```python
# def interpolate_positions(positions, grid, new_grid):
#     d = positions.shape[2]
#     table = positions[:, 1:].reshape(1, d, grid[1], grid[0])
#     table = F.interpolate(table, size=(new_grid[1], new_grid[0]), mode="bicubic", align_corners=False)
#     table = table.reshape(1, -1, d)
#     return torch.cat([positions[:, :1], table], dim=1)
# ```
#
# Bicubic interpolation with `align_corners=False` is right and stays. Write the rest correctly, for images that are not square too. Row 0 (the class token) has no place and stays as it is.
#
# Shapes: `positions` 1 (1 + rows·columns) d; `grid` = (rows, columns), `new_grid` likewise; result 1 (1 + new rows·new columns) d.
#
# <details><summary>Hint 1: what <code>reshape</code> does not do</summary>
#
# The table is n d: the d numbers of one patch lie together. `F.interpolate` wants 1 d rows columns. What does `reshape` do with the order of the
# numbers? The way back needs the same care.
# </details>
#
# <details><summary>Hint 2: rows or columns?</summary>
#
# Patches lie row by row. Into which two axes, in which order, does n unfold? And which of the two does `size` name first?
# </details>


# %% tags=["task_14_4"]
def interpolate_positions(positions, grid, new_grid):
    """The table of positions stretched to another grid; the class token's row stays: 1 1+n d -> 1 1+m d."""
    ### BEGIN SOLUTION
    picture = positions[:, 1:].mT.unflatten(2, grid)  # 1 n d -> 1 d n -> 1 d rows columns
    picture = F.interpolate(picture, size=new_grid, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], picture.flatten(2).mT], dim=1)  # 1 d m -> 1 m d
    ### END SOLUTION


# %% tags=["folded"]
ROW, COLUMN = torch.arange(2.0)[:, None].expand(2, 3), torch.arange(3.0).expand(2, 3)


def table_of(class_token, patches):
    """A table: the class token's vector, then those of the patches, n d."""
    return torch.cat([torch.tensor([class_token]), patches])[None]


PLACES = table_of([9.0, 8.0], torch.stack([ROW, COLUMN], dim=2).flatten(0, 1))  # 1 7 2: (row, column) of each patch


def the_class_token_stays():
    wide = interpolate_positions(PLACES, (2, 3), (2, 6))
    assert wide.shape == (1, 13, 2), f"2 × 6 patches and the class token: (1, 13, 2), not {tuple(wide.shape)}"
    assert torch.equal(wide[0, 0], PLACES[0, 0]), "row 0 is the class token's, and must be the same before and after"
    empty = interpolate_positions(table_of([9.0, 8.0], torch.zeros(6, 2)), (2, 3), (2, 6))
    assert not empty[:, 1:].any(), "all patches hold zeros, and some got a part of the class token"


# %% tags=["folded"]
def vectors_stay_whole():
    alike = table_of([0.0, 0.0, 0.0], torch.tensor([[1.0, 2.0, 3.0]]).expand(6, 3))
    for new_grid, words in (
        ((2, 3), "even on the same grid"),
        ((4, 6), "when stretched, though not on the same grid"),
    ):
        found = interpolate_positions(alike, (2, 3), new_grid)[0, 1:]
        assert torch.allclose(found, torch.tensor([1.0, 2.0, 3.0]).expand_as(found), atol=1e-5), (
            f"every patch holds (1, 2, 3); {words}, your patch 0 holds {tuple(round(v, 1) for v in found[0].tolist())}: "
            "the numbers of a vector got mixed with those of other patches"
        )


def rows_stay_rows():
    same = interpolate_positions(PLACES, (2, 3), (2, 3))[0, 1:]
    assert torch.allclose(same, PLACES[0, 1:], atol=1e-5), (
        f"on the same grid patch 1 stays at (row, column) = (0, 1); yours holds {tuple(round(v, 1) for v in same[1].tolist())}: "
        "in which order are the patches laid out?"
    )
    rows = interpolate_positions(PLACES, (2, 3), (2, 6))[0, 1:, 0]
    assert torch.allclose(rows.view(2, 6), ROW[:, :1].expand(2, 6), atol=1e-5), (
        "from 2 × 3 to 2 × 6 only columns are stretched, and the row numbers of the first six patches stay 0; yours are "
        f"{[round(v, 2) for v in rows[:6].tolist()]}: which number of `grid` counts the rows?"
    )


# %% tags=["check_14_4"]
with exercise.check(4):
    the_class_token_stays()
    vectors_stay_whole()
    rows_stay_rows()
    corner = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    stretched = interpolate_positions(table_of([0.0], corner[:, None]), (2, 3), (4, 6))[0, 1:, 0].view(4, 6)
    for words, mode, aligned in (
        ("the interpolation is bilinear", "bilinear", False),
        ("corners stay in the corners, as if a patch were a point", "bicubic", True),
        ("each patch is repeated", "nearest", None),
    ):
        rival = F.interpolate(corner.view(1, 1, 2, 3), (4, 6), mode=mode, align_corners=aligned)[0, 0]
        assert not torch.allclose(stretched, rival, atol=1e-4), f"rows and columns are right, but {words}"
    assert abs(stretched[0, 5] - 1.2221) < 1e-3, (
        f"a 1 in the upper right corner of zeros, stretched to 4 × 6, becomes 1.222 there, not {stretched[0, 5]:.3f}"
    )

# %% [markdown]
# ## task_14_5 · Count the parameters
# difficulty 3/5 · importance 3/5 · 8 minutes
#
# Derive on paper how many numbers a ViT learns, as a formula: patch embedding (a linear layer with bias from c · p · p to d), class
# token, positions (one vector for each patch *and* one for the class token), L blocks (two LayerNorms; query, key, value, project; an MLP d → 4d →
# d; all with biases), a last LayerNorm, and a linear head with bias. A LayerNorm has d weights and d biases.
#
# With 224 × 224 pixels, 16 × 16 patches and 1000 classes your formula must give the published sizes, which the check knows.
# *The number of heads is not among the arguments. Why?*
#
# <details><summary>Hint 1: one block</summary>
#
# Write down the shape of each weight and of each bias of one block. Check with d = 1: one block must give 25.
# </details>
#
# <details><summary>Hint 2: outside the blocks</summary>
#
# What stands before the first block, and what after the last? What has each place, the class token's too?
# </details>
#
# <details><summary>Hint 3: the heads</summary>
#
# Heads share the d numbers of each query, key and value: whatever their number, the layers stay the same.
# </details>


# %% tags=["task_14_5"]
def count_parameters(height, width, patch_size, channels, embed_dim, depth, classes):
    """How many numbers a ViT learns."""
    ### BEGIN SOLUTION
    d, n = embed_dim, (height // patch_size) * (width // patch_size)
    before = channels * patch_size**2 * d + d + d + (n + 1) * d
    block = 4 * d + 4 * (d * d + d) + (d * 4 * d + 4 * d) + (4 * d * d + d)
    return before + depth * block + 2 * d + d * classes + classes
    ### END SOLUTION


# %% tags=["folded"]
def a_block(d):
    """What your formula counts for one block."""
    return count_parameters(1, 1, 1, 1, d, 1, 1) - count_parameters(1, 1, 1, 1, d, 0, 1)


def outside_the_blocks():
    counts = {shape: count_parameters(*shape, 1, 1, 1, 0, 1) for shape in ((1, 1), (1, 2), (2, 1))}
    assert counts[1, 2] == counts[2, 1], "1 × 2 and 2 × 1 pixels have equally many patches; your counts differ"
    assert counts[1, 2] - counts[1, 1] == 1, (
        f"d = 1: an image with one patch more needs one number more, not {counts[1, 2] - counts[1, 1]}: what has each place?"
    )
    more = count_parameters(2, 2, 2, 3, 1, 0, 1) - count_parameters(2, 2, 2, 1, 1, 0, 1)
    assert more == 8, f"p = 2, d = 1: two channels more bring 8 numbers, not {more}: what does E read?"
    assert counts[1, 1] == 9, (
        f"one pixel, d = 1, no block, one class: 9 numbers, not {counts[1, 1]}; name what stands before the first block "
        "and after the last, biases and the class token's place included"
    )


# %% tags=["folded"]
def one_block():
    by_square = (a_block(2) - 2 * a_block(1)) / 2  # a block is a d² + b d: this is a
    assert by_square == 12, (
        f"the matrices of one block: you count {by_square:g} · d², and there are 12; which layer is missing or too much?"
    )
    by_side = a_block(1) - by_square
    assert by_side == 13, (
        f"a block's matrices are right, but you count {by_side:g} · d for its biases and norms; there are 13"
    )


PUBLISHED = {"Ti": (192, 12, 5_717_416), "S": (384, 12, 22_050_664)}
PUBLISHED |= {"B": (768, 12, 86_567_656), "L": (1024, 24, 304_326_632)}

# %% tags=["check_14_5"]
with exercise.check(5):
    outside_the_blocks()
    one_block()
    assert count_parameters(4, 6, 2, 3, 5, 0, 7) == 157, (
        "4 × 6 pixels, p = 2, 3 channels, d = 5, no block, 7 classes: 157"
    )
    for name, (d, depth, known) in PUBLISHED.items():
        counted = count_parameters(224, 224, 16, 3, d, depth, 1000)
        assert counted == known, f"ViT-{name}/16 has {known:,} parameters, not {counted:,}"
