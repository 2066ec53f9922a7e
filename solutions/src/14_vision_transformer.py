# %% [markdown]
# # Exercise 14 · Vision transformer
#
# You cut an image into patches, write the encoder block, follow attention through the layers, repair an interpolation of
# positions that circulates, and count the parameters of the published sizes.
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
# ## task_14_1 · Patchify
# difficulty 2/5 · importance 5/5 · 10 minutes
#
# Cut each image into squares of `patch_size` × `patch_size` pixels and lay every square out as one row of numbers. The
# patches come **row by row**, as one reads a page; inside a patch the order is **channel, row, column**, as in the weight of
# a convolution. `patch_size` divides height and width.
#
# Shapes: `image` b c h w -> b n (c·p·p), with n = (h / p) · (w / p).
#
# <details><summary>Hint 1: six axes</summary>
#
# Split the height into (patch row, row inside) and the width into (patch column, column inside): `unflatten(2, (-1, p))` does it
# for one axis.
# </details>
#
# <details><summary>Hint 2: their order</summary>
#
# You have b c i y j x, and want b (i j) (c y x): permute, then flatten two groups. A `view` without `permute` keeps the
# shape right and the numbers wrong.
# </details>


# %% tags=["task_14_1"]
def patchify(image, patch_size):
    """The patches row by row, each flattened as channel, row, column: b c h w -> b n (c p p)."""
    ### BEGIN SOLUTION
    parts = image.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))  # b c i y j x
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # b i j c y x -> b (i j) (c y x)
    ### END SOLUTION


# %% tags=["check_14_1"]
with exercise.check(1):
    page = torch.arange(24.0).view(1, 1, 4, 6)  # two rows of three patches
    patches = patchify(page, 2)
    assert patches.shape == (1, 6, 4), (
        f"4 × 6 pixels, 2 × 2 patches: the result is (1, 6, 4), not {tuple(patches.shape)}"
    )
    assert patches[0, 0].tolist() == [0, 1, 6, 7], (
        f"the first patch holds pixels 0, 1 and, a row below, 6, 7; yours {patches[0, 0].tolist()}"
    )
    assert patches[0, 1].tolist() == [2, 3, 8, 9], (
        f"the second patch is right of the first: 2, 3, 8, 9, not {patches[0, 1].tolist()}; patches come row by row"
    )
    assert patches[0, 3].tolist() == [12, 13, 18, 19], (
        f"the fourth patch starts the second row of patches: 12, 13, 18, 19, not {patches[0, 3].tolist()}"
    )
    colours = patchify(torch.stack([page[0, 0], 100 + page[0, 0]])[None], 2)
    assert colours[0, 0].tolist() == [0, 1, 6, 7, 100, 101, 106, 107], (
        f"inside a patch the first channel comes whole, then the second; yours {colours[0, 0].tolist()}"
    )
    both = patchify(torch.cat([page, -page]), 2)
    assert torch.equal(both[1], -both[0]), "the second image of a batch must be cut like the first"

# %% [markdown]
# ## task_14_2 · The encoder block
# difficulty 4/5 · importance 5/5 · 18 minutes
#
# Write `forward` with the layers that are given:
#
# $$z' = z + \mathrm{MSA}(\mathrm{LN}_1(z)) \qquad z'' = z' + \mathrm{MLP}(\mathrm{LN}_2(z'))$$
#
# MSA is the multi-head look-up of lesson 01: head s uses channels s·d to (s+1)·d of query, key and value, with d =
# `embed_dim // num_heads`; scores are divided by √d; the heads' results stand side by side again before `project`. MLP is
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
# `transpose(1, 2).flatten(2)`: first bring the heads beside their channels again, then join the two axes.
# </details>
#
# <details><summary>Hint 3: what is added to what</summary>
#
# Two lines of the form `x = x + branch(norm(x))`. The norm stands only on the branch; nothing touches the sum.
# </details>


# %% tags=["task_14_2"]
class EncoderBlock(nn.Module):
    """Tokens read each other, then each thinks for itself: b n D -> b n D."""

    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.query, self.key = nn.Linear(embed_dim, embed_dim), nn.Linear(embed_dim, embed_dim)
        self.value, self.project = nn.Linear(embed_dim, embed_dim), nn.Linear(embed_dim, embed_dim)
        self.mlp_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.expand, self.contract = nn.Linear(embed_dim, 4 * embed_dim), nn.Linear(4 * embed_dim, embed_dim)

    def forward(self, x):
        ### BEGIN SOLUTION
        z = self.attention_norm(x)
        query, key, value = (
            layer(z).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )  # b n (s d) -> b s n d
        weights = (query @ key.mT / math.sqrt(query.shape[3])).softmax(dim=-1)  # b s n n
        x = x + self.project((weights @ value).transpose(1, 2).flatten(2))  # b s n d -> b n (s d)
        return x + self.contract(F.gelu(self.expand(self.mlp_norm(x))))
        ### END SOLUTION


# %% tags=["check_14_2"]
with exercise.check(2):
    generator = torch.Generator().manual_seed(0)
    x, block = torch.randn(2, 5, 12, generator=generator), EncoderBlock(12, 3)
    torchs = nn.TransformerEncoderLayer(
        12, 3, 48, 0.0, F.gelu, layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    silent = EncoderBlock(12, 3)
    for last in (silent.project, silent.contract):
        nn.init.zeros_(last.weight), nn.init.zeros_(last.bias)
    before = x.clone()
    block(x)
    assert torch.equal(x, before), "forward changed its input; write x = x + …, for x += … adds in place"
    assert torch.equal(silent(x), x), (
        "with `project` and `contract` at zero both branches are silent, so x must pass untouched: "
        "the norms stand on the branches, and x itself is added, twice"
    )
    for layer in (block.query, block.key, block.attention_norm, block.mlp_norm, block.expand):
        nn.init.normal_(layer.weight, generator=generator), nn.init.normal_(layer.bias, generator=generator)
    alone, z = x[:, :1], block.attention_norm(x[:, :1])
    read = alone + block.project(block.value(z))  # a single token can only read itself
    think = block.contract(F.gelu(block.expand(block.mlp_norm(read))))
    assert torch.allclose(block(alone), read + think, atol=1e-5), (
        "a single token reads its own value with weight 1; then the MLP reads the *new* x through its own norm; GELU"
    )
    torchs.self_attn.in_proj_weight.data = torch.cat([p.weight.data for p in (block.query, block.key, block.value)])
    torchs.self_attn.in_proj_bias.data = torch.cat([p.bias.data for p in (block.query, block.key, block.value)])
    pairs = [
        (torchs.self_attn.out_proj, block.project),
        (torchs.linear1, block.expand),
        (torchs.linear2, block.contract),
    ]
    for theirs, ours in [*pairs, (torchs.norm1, block.attention_norm), (torchs.norm2, block.mlp_norm)]:
        theirs.load_state_dict(ours.state_dict())
    assert torch.allclose(block(x), torchs(x), atol=1e-4), (
        "torch's own pre-norm layer with your weights gives other numbers: softmax over the keys, √d of *one* head, "
        "channels split into heads and joined again in the same order"
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
# To run a ViT on larger images, its table of positions is stretched like a picture. This version circulates in many forms.
# It runs, it has the right shape, it even keeps the table when the grid stays the same, and it is wrong in three ways.
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
