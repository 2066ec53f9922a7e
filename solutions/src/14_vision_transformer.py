# %% [markdown]
# # Exercise 14 · Vision transformer
#
# You cut a film into tubelets, write a block whose branches work side by side, follow attention through the layers, repair an
# interpolation of positions, and count the parameters of the published sizes.
#
# *Minutes:* 62 · *Needs:* 14
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
# Shapes: `clip` b c t h w -> b n (c·f·p·p), with n = (t / f) · (h / p) · (w / p).
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


# %% tags=["check_14_1"]
with exercise.check(1):
    film = torch.arange(216.0).view(1, 1, 6, 4, 9)  # 6 frames of 4 × 9 pixels: 36·frame + 9·row + column
    boxes = tubelets(film, 2, 1)
    assert boxes.shape == (1, 108, 2), (
        f"6 frames of 4 × 9 pixels in boxes of 2 frames and 1 pixel: the result is (1, 108, 2), not {tuple(boxes.shape)}"
    )
    film = torch.arange(144.0).view(1, 1, 6, 4, 6)  # 24·frame + 6·row + column; three times two rows of three boxes
    boxes = tubelets(film, 2, 2)
    assert boxes.shape == (1, 18, 8), (
        f"6 frames of 4 × 6 pixels in boxes of 2 · 2 · 2: the result is (1, 18, 8), not {tuple(boxes.shape)}"
    )
    for which, numbers, where in [
        (0, [0, 1, 6, 7, 24, 25, 30, 31], "pixels 0, 1 and, a row below, 6, 7; then the same places one frame later"),
        (1, [2, 3, 8, 9, 26, 27, 32, 33], "the box to the right of the first"),
        (3, [12, 13, 18, 19, 36, 37, 42, 43], "the first box of the second row"),
        (6, [48, 49, 54, 55, 72, 73, 78, 79], "the first box of the next two frames, after all six of the first two"),
    ]:
        assert boxes[0, which].tolist() == numbers, (
            f"box {which} is {where}: {numbers}, not {[int(v) for v in boxes[0, which].tolist()]}"
        )
    colours = tubelets(torch.cat([film, 200 + film], dim=1), 2, 1)[0, 0].tolist()
    assert colours == [0, 24, 200, 224], (
        f"inside a box the first channel comes with all its frames, then the second: 0, 24, 200, 224, not {colours}"
    )
    both = tubelets(torch.cat([film, -film]), 2, 2)
    assert torch.equal(both[1], -both[0]), "the second film of a batch must be cut like the first"

# %% [markdown]
# ## task_14_2 · Side by side
# difficulty 4/5 · importance 5/5 · 18 minutes
#
# In the lesson's block the MLP waits for the attention. The largest vision transformers let both work **side by side, on the same normalised tokens**
# (ViT-22B: Dehghani et al., 2023, arXiv 2302.05442), which saves a norm and lets the machine join matrices:
#
# $$z' = z + \mathrm{MSA}(\mathrm{LN}(z)) + \mathrm{MLP}(\mathrm{LN}(z))$$
#
# Write `forward` with the layers that are given. MSA is the multi-head look-up of lesson 01: head s uses channels s·d to (s+1)·d of query, key and
# value, with d = `embed_dim // num_heads`; scores are divided by √d; the heads' results stand side by side again before `project`. MLP is
# `expand`, the exact GELU, `contract`.
#
# Shapes: `x` b n D -> b n D.
#
# <details><summary>Hint 1: the heads</summary>
#
# `t.unflatten(2, (num_heads, -1)).transpose(1, 2)` makes b s n d of b n D.
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
    """Tokens read each other and think at the same time: b n D -> b n D."""

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
        )  # b n (s d) -> b s n d
        weights = (query @ key.mT / math.sqrt(query.shape[3])).softmax(dim=-1)  # b s n n
        heard = self.project((weights @ value).transpose(1, 2).flatten(2))  # b s n d -> b n (s d)
        return x + heard + self.contract(F.gelu(self.expand(z)))
        ### END SOLUTION


# %% tags=["check_14_2"]
def block_of(heads, seed=0):
    """Your block with 12 channels and random weights."""
    block, generator = ParallelBlock(12, heads), torch.Generator().manual_seed(seed)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return block


def torchs(block):
    """torch's own multi-head attention with the weights of your block."""
    module = nn.MultiheadAttention(12, block.num_heads, batch_first=True)
    layers = block.query, block.key, block.value
    module.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
    module.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
    module.out_proj.load_state_dict(block.project.state_dict())
    return lambda z: module(z, z, z, need_weights=False)[0]


def silent(block, *names):
    """The same block, with these layers at zero."""
    for name in names:
        nn.init.zeros_(getattr(block, name).weight), nn.init.zeros_(getattr(block, name).bias)
    return block


with exercise.check(2), torch.no_grad():
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    before, block = x.clone(), block_of(3)
    assert block(x).shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(block(x).shape)}"
    assert torch.equal(x, before), "forward changed its input: the caller still needs it"
    nothing = silent(block_of(3), "project", "contract")(x)
    assert torch.equal(nothing, x), (
        "with `project` and `contract` at zero both branches are silent, so x must come out untouched: "
        + (
            "nothing comes out: what are the branches added to?"
            if not nothing.any()
            else "what happened to it on its way?"
        )
    )
    think, z = silent(block_of(3), "project"), block.norm(x)
    mlp, relu = block.contract(F.gelu(block.expand(z))), block.contract(F.relu(block.expand(z)))
    assert not torch.allclose(think(x), x + relu, atol=1e-4), (
        "the MLP's activation looks like a ReLU; a ViT has another"
    )
    assert torch.allclose(think(x), x + mlp, atol=1e-4), (
        "with `project` at zero only the MLP speaks, and it is not x + MLP(LN(x)): what does it read, and what is its result added to?"
    )
    alone, deaf = x[:, :1], silent(block_of(3), "contract")
    assert torch.allclose(deaf(alone), alone + block.project(block.value(block.norm(alone))), atol=1e-4), (
        "with `contract` at zero and a single token, that token can only read its own value, and adds it to itself; yours does not"
    )
    assert torch.allclose(block(x) - think(x), deaf(x) - x, atol=1e-4), (
        "each branch alone is right, but not both together: does one read what the other has written?"
    )
    one = silent(block_of(1), "contract")
    assert torch.allclose(one(x), x + torchs(one)(one.norm(x)), atol=1e-4), (
        "already with one head the tokens read something else than torch's: look at the axis of the softmax, and at the scale of the scores"
    )
    order = [3, 0, 4, 1, 2]
    assert torch.allclose(deaf(x[:, order]), deaf(x)[:, order], atol=1e-4), (
        "with three heads, tokens in another order no longer come out in that order: heads and tokens got mixed"
    )
    assert torch.allclose(deaf(x), x + torchs(deaf)(deaf.norm(x)), atol=1e-4), (
        "one head is right, three are not: which channels belong to a head, and whose d stands under the root?"
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
# `step = maps[l].mean(dim=1) + torch.eye(n)`, then `step / step.sum(dim=-1, keepdim=True)`. Without `keepdim` the division
# still runs, and divides columns.
# </details>
#
# <details><summary>Hint 2: the order</summary>
#
# $R_{ij}$ says how much of *first* token j is in *last* token i. So each new layer multiplies from the left: `total = step @ total`.
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


# %% tags=["check_14_3"]
with exercise.check(3):

    def towards(*targets):
        """The map in which token i reads only token targets[i]: 1 1 n n."""
        return torch.eye(len(targets))[list(targets)][None, None]

    one = class_rollout([towards(2, 1, 2)], (1, 2))
    assert one.shape == (1, 1, 2), f"one image, a grid of 1 × 2: the result is (1, 1, 2), not {tuple(one.shape)}"
    assert torch.allclose(one[0, 0], torch.tensor([0.0, 0.5])), (
        f"the class token reads patch 2 and, by the shortcut, itself: patches get 0 and 0.5, not {one[0, 0].tolist()}"
    )
    two = class_rollout([towards(0, 2, 2), towards(1, 1, 2)], (1, 2))[0, 0]
    assert torch.allclose(two, torch.tensor([0.25, 0.25])), (
        f"layer 1: patch 1 reads patch 2; layer 2: the class token reads patch 1, and so half of it is patch 2: "
        f"0.25 and 0.25, not {two.tolist()}; later layers multiply from the left"
    )
    dropped = class_rollout([torch.tensor([[[[0.0, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]])], (1, 2))[0, 0]
    assert torch.allclose(dropped, torch.tensor([1 / 3, 0.0])), (
        f"row 0 of A + I is 1, 0.5, 0: divided by its sum, patch 1 gets 1/3, not {dropped[0]:.2f}; each *row* by its own sum"
    )
    heads = class_rollout([torch.cat([towards(0, 1, 2), towards(2, 1, 2)], dim=1)], (1, 2))[0, 0]
    assert torch.allclose(heads, torch.tensor([0.0, 0.25])), (
        f"one of two heads reads patch 2: their average gives it 0.25, not {heads[1]:.2f}"
    )
    picture = class_rollout([towards(3, 1, 2, 3, 4, 5, 6)], (2, 3))[0]
    assert picture.shape == (2, 3) and picture[0, 2] == 0.5, (
        "with 2 × 3 patches, token 3 is the last patch of the first row: drop the class token's own entry, then lay out rows"
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
# Write it correctly, for images that are not square too. Row 0 (the class token) has no place and stays as it is.
#
# Shapes: `positions` 1 (1 + rows·columns) d; `grid` = (rows, columns), `new_grid` likewise; result 1 (1 + new rows·new columns) d.
#
# <details><summary>Hint 1: what `reshape` does not do</summary>
#
# The table is n d: the d numbers of one patch lie together. `F.interpolate` wants 1 d rows columns, so the axes must be
# *exchanged*; `reshape` only counts off numbers.
# </details>
#
# <details><summary>Hint 2: rows or columns?</summary>
#
# Patches lie row by row, so n unfolds into (rows, columns) in this order, and `size` is (rows, columns) too.
# </details>


# %% tags=["task_14_4"]
def interpolate_positions(positions, grid, new_grid):
    """The table of positions stretched to another grid; the class token's row stays: 1 1+n d -> 1 1+m d."""
    ### BEGIN SOLUTION
    picture = positions[:, 1:].mT.unflatten(2, grid)  # 1 n d -> 1 d n -> 1 d rows columns
    picture = F.interpolate(picture, size=new_grid, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], picture.flatten(2).mT], dim=1)  # 1 d m -> 1 m d
    ### END SOLUTION


# %% tags=["check_14_4"]
with exercise.check(4):
    row, column = torch.arange(2.0)[:, None].expand(2, 3), torch.arange(3.0).expand(2, 3)
    places = torch.stack([row, column, torch.full((2, 3), 5.0)], dim=2).flatten(0, 1)
    table = torch.cat([torch.full((1, 3), 9.0), places])[None]  # 1 7 3
    same = interpolate_positions(table, (2, 3), (2, 3))
    assert torch.allclose(same, table, atol=1e-5), (
        "the same grid again must leave the table as it is; what you exchange before, exchange back after"
    )
    wide = interpolate_positions(table, (2, 3), (2, 6))
    assert wide.shape == (1, 13, 3), f"2 × 6 patches and the class token: (1, 13, 3), not {tuple(wide.shape)}"
    assert torch.equal(wide[0, 0], table[0, 0]), "the class token has no place: its row must not change"
    assert torch.allclose(wide[0, 1:, 0].view(2, 6), row[:, :1].expand(2, 6), atol=1e-5), (
        "each patch's vector is here (row, column, 5); stretching the columns must leave all row numbers 0 and 1: "
        "exchange the axes n and d instead of reshaping, and unfold n into (rows, columns)"
    )
    numbers = wide[0, 1:7, 1]
    assert (numbers.diff() > 0).all() and abs(numbers[2] + numbers[3] - 2) < 1e-4, (
        f"along the first row the column number must rise, evenly around 1; yours {[round(v, 2) for v in numbers.tolist()]}"
    )
    corner = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).view(1, 6, 1)
    spike = interpolate_positions(torch.cat([torch.zeros(1, 1, 1), corner], dim=1), (2, 3), (4, 6))[0, 1:, 0].view(
        4, 6
    )
    assert abs(spike[0, 5] - 1.2221) < 1e-3, (
        f"a 1 in the upper right corner of zeros, stretched to 4 × 6, becomes 1.222 there, not {spike[0, 5]:.3f}: bicubic, "
        "align_corners=False, no antialiasing"
    )

# %% [markdown]
# ## task_14_5 · Count the parameters
# difficulty 3/5 · importance 3/5 · 10 minutes
#
# Derive on paper how many numbers a ViT learns, as a formula: patch embedding (a linear layer with bias from c · P · P to D), class
# token, positions (one vector for each patch *and* one for the class token), L blocks (two LayerNorms; query, key, value, project; an MLP D → 4D →
# D; all with biases), a last LayerNorm, and a linear head with bias. A LayerNorm has D weights and D biases.
#
# With 224 × 224 pixels, 16 × 16 patches and 1000 classes your formula must give the published sizes, which the check knows.
# *The number of heads is not among the arguments. Why?*
#
# <details><summary>Hint 1: one block</summary>
#
# Norms 4D; four D × D layers with biases 4D² + 4D; the MLP 4D² + 4D and 4D² + D.
# </details>
#
# <details><summary>Hint 2: outside the blocks</summary>
#
# c·P²·D + D, then D, then (N + 1)·D with N = (h/P)·(w/P); 2D; D·K + K.
# </details>
#
# <details><summary>Hint 3: the heads</summary>
#
# Heads share the D numbers of each query, key and value: whatever their number, there are four D × D layers.
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


# %% tags=["check_14_5"]
with exercise.check(5):
    bare = count_parameters(1, 1, 1, 1, 1, 0, 1)
    assert bare == 9, (
        f"one pixel, D = 1, no block, one class: 2 (patch) + 1 (class token) + 2 (positions) + 2 (norm) + 2 (head) = 9, not {bare}"
    )
    block = count_parameters(1, 1, 1, 1, 1, 1, 1) - bare
    assert block == 25, f"one block with D = 1: 4 (norms) + 8 (attention) + 8 + 5 (MLP) = 25, not {block}"
    wider = count_parameters(1, 1, 1, 1, 2, 1, 1) - count_parameters(1, 1, 1, 1, 2, 0, 1)
    assert wider == 74, f"one block with D = 2: 8 + 24 + 24 + 18 = 74, not {wider}"
    assert count_parameters(4, 6, 2, 3, 5, 0, 7) == 65 + 5 + 35 + 10 + 42, (
        "4 × 6 pixels, P = 2, 3 channels, D = 5, 7 classes: 65 + 5 + 7·5 + 10 + 42"
    )
    published = {"Ti": (192, 12, 5_717_416), "S": (384, 12, 22_050_664)}
    published |= {"B": (768, 12, 86_567_656), "L": (1024, 24, 304_326_632)}
    for name, (d, depth, known) in published.items():
        counted = count_parameters(224, 224, 16, 3, d, depth, 1000)
        assert counted == known, f"ViT-{name}/16 has {known:,} parameters, not {counted:,}"
