# %% [markdown]
# # Exercise 09 · Non-local
#
# You denoise by looking up, write the non-local block with its four pairings, let fewer keys answer without storing the
# map, repair a block that circulates, and count multiplications.
#
# *Minutes:* 60 · *Needs:* 09
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.exercises import Exercise

torch.manual_seed(0)  # the layers of task 2 start at random
exercise = Exercise("09_non_local", points=[3, 4, 3, 3, 2])

# %% [markdown]
# ## task_09_1 · Non-local means
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# Replace each pixel by an average of **all** pixels of the image (no window), itself included:
#
# $$v_i = \sum_j w_{ij} u_j \qquad w_{ij} = \frac{\exp(-d_{ij} / h^2)}{\sum_l \exp(-d_{il} / h^2)}$$
#
# $d_{ij}$ is the **mean** squared difference of the two `patch_size` × `patch_size` patches around pixels i and j, over the
# patch and all channels. Beyond the border, the edge pixel is repeated. `patch_size` is odd; `bandwidth` is h.
#
# Shapes: `image` c h w -> c h w.
#
# <details><summary>Hint 1: all patches at once</summary>
#
# Pad by `patch_size // 2` with `mode="replicate"` (it wants a batch axis), then `F.unfold(padded, patch_size)` gives
# 1 d n: one column for each pixel, row by row.
# </details>
#
# <details><summary>Hint 2: all differences at once</summary>
#
# With patches n d, `patches[:, None] - patches[None]` is n n d. Square it, take the mean over the last axis.
# </details>
#
# <details><summary>Hint 3: mixing</summary>
#
# The values are the *pixels*, n c, not the patches. `weights @ pixels` is n c: transpose before it becomes c h w.
# </details>


# %% tags=["task_09_1"]
def non_local_means(image, patch_size, bandwidth):
    """Average all pixels, weighted by how alike their patches look: c h w -> c h w."""
    ### BEGIN SOLUTION
    padded = F.pad(image[None], (patch_size // 2,) * 4, mode="replicate")
    patches = F.unfold(padded, patch_size)[0].mT  # n d
    distance = (patches[:, None] - patches[None]).square().mean(dim=-1)  # n n
    weights = (-distance / bandwidth**2).softmax(dim=-1)
    return (weights @ image.flatten(1).mT).mT.view_as(image)  # n c -> c h w
    ### END SOLUTION


# %% tags=["check_09_1"]
with exercise.check(1):
    row = torch.tensor([[[0.2, 0.8, 0.2]]])
    alone = non_local_means(row, 1, 0.2)
    assert alone.shape == row.shape, (
        f"the result must have the shape of the image, (1, 1, 3), not {tuple(alone.shape)}"
    )
    assert torch.allclose(alone, row, atol=1e-3), (
        f"patches of one pixel, h = 0.2: 0.6² / 0.2² = 9, so 0.2 and 0.8 are e⁻⁹ alike and nothing changes; "
        f"yours is {[round(v, 3) for v in alone.flatten().tolist()]}"
    )
    two = non_local_means(torch.tensor([[[0.0, 1.0, 0.0]]]), 1, 1.0)[0, 0]
    assert abs(two[0] - 0.1554) < 1e-3, (
        f"0, 1, 0 with h = 1: the first pixel gives 1, e⁻¹ and 1 to the three, so it becomes 0.155, not {two[0]:.3f}"
    )
    assert abs(two[1] - 0.5761) < 1e-3, (
        f"the middle pixel gives 1 to itself and e⁻¹ to each other: 0.576, not {two[1]:.3f}; each query's weights sum to 1"
    )
    flat = torch.tensor([0.3, 0.9])[:, None, None].expand(2, 4, 3)
    assert torch.allclose(non_local_means(flat, 3, 0.1), flat), "a flat image must stay as it is, in every channel"
    step = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 3, 4)
    assert abs(non_local_means(step, 3, 1.0)[0, 0, 0] - 0.3393) < 1e-3, (
        "an edge between columns 1 and 2, 3 × 3 patches, h = 1: the corner becomes 0.339; compare whole patches, by their "
        "mean squared difference, with the edge pixel repeated beyond the border"
    )
    half = non_local_means(torch.tensor([[[0.0, 0.5, 0.0]]]), 1, 0.5)[0, 0, 0]
    assert abs(half - 0.0777) < 1e-3, (
        f"0, 0.5, 0 with h = 0.5: 0.25 / 0.25 gives e⁻¹ and 0.078, not {half:.3f}: square both"
    )
    smaller = non_local_means(torch.tensor([[[0.0, 1.0, 0.0]]]), 1, 0.5)[0, 0, 0]
    assert abs(smaller - 0.0091) < 1e-3, (
        f"with h = 0.5 the 1 gets e⁻⁴, so the result is 0.009, not {smaller:.3f}: h enters squared"
    )

# %% [markdown]
# ## task_09_2 · The block
# difficulty 4/5 · importance 5/5 · 18 minutes
#
# Write the start and the `forward` of the non-local block, $z_i = x_i + \mathrm{norm}(W_z\, y_i)$ with
#
# | pairing | weight of key j for query i |
# |---|---|
# | `gaussian` | softmax over j of $x_i^\top x_j$ |
# | `embedded_gaussian` | softmax over j of $\theta_i^\top \phi_j$ |
# | `dot_product` | $\theta_i^\top \phi_j / N$ |
# | `concatenation` | $\mathrm{ReLU}(w_f^\top [\theta_i, \phi_j]) / N$ |
#
# θ, φ, g, $W_z$, $w_f$ are `query`, `key`, `value`, `output`, `pair`; N = h · w. No scaling by √d. A fresh block is the
# identity: γ of the norm, `norm.weight`, starts at zero (β does so already); all else keeps torch's start. All pairings have the
# same layers; some leave a few unused.
#
# Shapes: `x` b c h w -> b c h w; θ, φ, g b d h w with d = c // 2.
#
# <details><summary>Hint 1: positions in a row</summary>
#
# `.flatten(2)` makes b d n. Queries transposed times keys is b n m: queries first, keys last.
# </details>
#
# <details><summary>Hint 2: back to an image</summary>
#
# `weights @ value.mT` is b n d. Transpose to b d n before `unflatten(2, …)` or `view`; without that the numbers are scrambled.
# </details>
#
# <details><summary>Hint 3: concatenation</summary>
#
# The first d entries of $w_f$ belong to θ, the others to φ: $w_f^\top [\theta_i, \phi_j]$ is a number of i plus a number of
# j, so b n 1 plus b 1 m.
# </details>


# %% tags=["task_09_2"]
class NonLocal(nn.Module):
    """Every position asks every other: b c h w -> b c h w."""

    def __init__(self, channels, pairing):
        super().__init__()
        inner = channels // 2
        self.pairing = pairing
        self.query, self.key = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.value, self.output = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.pair = nn.Linear(2 * inner, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        ### BEGIN SOLUTION
        nn.init.zeros_(self.norm.weight)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        query, key, value = (conv(x).flatten(2) for conv in (self.query, self.key, self.value))  # b d n
        if self.pairing == "gaussian":
            query = key = x.flatten(2)
        if self.pairing == "concatenation":
            of_query, of_key = self.pair.weight.chunk(2, dim=1)  # 1 d
            weights = ((of_query @ query).mT + of_key @ key).relu() / key.shape[2]  # b n 1, b 1 m -> b n m
        elif self.pairing == "dot_product":
            weights = query.mT @ key / key.shape[2]
        else:
            weights = (query.mT @ key).softmax(dim=-1)
        y = value @ weights.mT  # b d m, b m n -> b d n
        return x + self.norm(self.output(y.unflatten(2, x.shape[2:])))
        ### END SOLUTION


# %% tags=["check_09_2"]
def simple_block(pairing, x):
    """Your block with θ = φ = g = the first channel, W_z = (1, 0, …), w_f = (1, 0, 2, 0), and a norm that does nothing."""
    block = NonLocal(4, pairing).eval()
    assert torch.equal(block(x), x), "a fresh block must be the identity: start the norm's weight at zero, and add x"
    assert block.output.weight.any(), "W_z keeps its random start: two zeros in a row, γ and W_z, would never wake"
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        block.query.weight[0, 0] = block.key.weight[0, 0] = block.value.weight[0, 0] = block.output.weight[0, 0] = 1.0
        block.pair.weight.copy_(torch.tensor([[1.0, 0.0, 2.0, 0.0]]))
        block.norm.weight.fill_((1 + block.norm.eps) ** 0.5)
    return block(x)[0, 0, 0] - x[0, 0, 0]


with exercise.check(2):
    x = torch.tensor([[[[0.0, 1.0, -3.0]], [[5.0, 0.0, 0.0]], [[0.0] * 3], [[0.0] * 3]]])  # 1 4 1 3
    expected = {"dot_product": [0.0, 3.3333, -10.0], "embedded_gaussian": [-0.6667, 0.6818, -2.9996]}
    expected |= {"gaussian": [0.0, 0.6818, -2.9996], "concatenation": [0.6667, 1.0, 0.0]}
    advice = {"dot_product": "divide by N, the number of positions, without a softmax", "gaussian": "compare x with x",
              "embedded_gaussian": "softmax over the keys, no √d", "concatenation": "ReLU of θ's half plus φ's half, / N"}  # fmt: skip
    for pairing, y in expected.items():
        result = simple_block(pairing, x)
        assert torch.allclose(result, torch.tensor(y), atol=1e-3), (
            f"{pairing}: y is {y}, not {[round(v, 4) for v in result.tolist()]}: {advice[pairing]}"
        )
    torch.manual_seed(0)
    block, x = NonLocal(6, "embedded_gaussian").eval(), torch.randn(2, 6, 2, 5)
    nn.init.ones_(block.norm.weight)
    order = [3, 1, 9, 0, 2, 8, 6, 7, 5, 4]
    shuffled = block(x.flatten(2)[:, :, order].view_as(x)).flatten(2)
    assert torch.allclose(shuffled, block(x).flatten(2)[:, :, order], atol=1e-4), (
        "shuffled pixels must give shuffled outputs: transpose b n d to b d n before it becomes an image"
    )
    flat = block(x[:, :, :1, :1].expand(2, 6, 2, 5))
    y = block.value(x[:, :, :1, :1])
    alone = x[:, :, :1, :1] + block.norm(block.output(y))
    assert torch.allclose(flat, alone.expand_as(flat), atol=1e-4), (
        "on a flat image every mixture of values is the value"
    )

# %% [markdown]
# ## task_09_3 · Fewer keys, and no map
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# The embedded Gaussian read, made cheap in two ways. Keys and values come from x after a max-pooling with windows of s × s
# (pool **x**, then project); queries come from x itself. And the map is never stored: use `F.scaled_dot_product_attention`,
# with the scores as they are (no √d).
#
# Shapes: `x` b c h w; `query_weight`, `key_weight` d c, `value_weight` e c (no biases); result b e h w. A window that does not
# fit at the border is left out, as `F.max_pool2d` does.
#
# <details><summary>Hint 1: projecting</summary>
#
# With positions in a row, `query_weight @ x.flatten(2)` is d c times b c n: b d n.
# </details>
#
# <details><summary>Hint 2: what the kernel wants</summary>
#
# The last axis holds the channels, the one before it the positions: b n d. The kernel divides by √d unless told `scale=1.0`.
# </details>


# %% tags=["task_09_3"]
def read_fewer_keys(x, query_weight, key_weight, value_weight, subsample):
    """Every position asks the pooled positions: b c h w -> b e h w."""
    ### BEGIN SOLUTION
    pooled = F.max_pool2d(x, subsample).flatten(2)  # b c m
    query, key, value = query_weight @ x.flatten(2), key_weight @ pooled, value_weight @ pooled  # b d n, b d m, b e m
    y = F.scaled_dot_product_attention(query.mT, key.mT, value.mT, scale=1.0)  # b n e
    return y.mT.unflatten(2, x.shape[2:])
    ### END SOLUTION


# %% tags=["check_09_3"]
with exercise.check(3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 6, generator=generator)
    w_query, w_key, w_value = (torch.randn(d, 3, generator=generator) for d in (2, 2, 5))
    result = read_fewer_keys(x, w_query, w_key, w_value, 2)
    assert result.shape == (2, 5, 4, 6), (
        f"all 4 × 6 positions ask, and each gets 5 channels: the result is (2, 5, 4, 6), not {tuple(result.shape)}"
    )
    one_key = read_fewer_keys(x[:, :, :3, :3], w_query, w_key, w_value, 3)
    largest = w_value @ x[:, :, :3, :3].amax(dim=(2, 3))[:, :, None]
    assert torch.allclose(one_key, largest[..., None].expand_as(one_key), atol=1e-4), (
        "with a single window there is one key, so all read g of the maximum of x: pool x (its maximum), then project"
    )
    all_keys = read_fewer_keys(x, w_query, w_key, w_value, 1)
    q, k, v = (w @ x.flatten(2) for w in (w_query, w_key, w_value))
    textbook = (v @ (q.mT @ k).softmax(dim=-1).mT).view(2, 5, 4, 6)
    assert torch.allclose(all_keys, textbook, atol=1e-4), (
        "with windows of 1 × 1 the result must equal the textbook: softmax over the keys of θᵀφ, without √d, "
        "then transposed before it becomes an image"
    )

# %% [markdown]
# ## task_09_4 · Repair a block
# difficulty 3/5 · importance 5/5 · 10 minutes
#
# Here are two mistakes of published attention code in one block. It runs, its shapes are right, networks train with it, and it is wrong.
#
# ```python
# def non_local(x, theta, phi, g):
#     b, c, h, w = x.shape
#     query = (theta @ x.flatten(2)).mT  # b n d
#     key = phi @ x.flatten(2)  # b d n
#     value = (g @ x.flatten(2)).mT  # b n c
#     weights = (query @ key).softmax(dim=1)
#     y = (weights @ value).view(b, c, h, w)
#     return x + y
# ```
#
# Find both by asking: over what does each row of `weights` sum to 1, and which axes does `y` have before `view`? Write it
# correctly: $z_i = x_i + \sum_j \mathrm{softmax}_j(\theta_i^\top \phi_j)\, g_j$.
#
# Shapes: `x` b c h w; `theta`, `phi` d c; `g` c c; result b c h w.
#
# <details><summary>Hint 1: the softmax</summary>
#
# `query @ key` is b n m: axis 0 is the batch, axis 1 the query, axis 2 the key.
# </details>
#
# <details><summary>Hint 2: the view</summary>
#
# `weights @ value` is b n c. `view` keeps the order in memory, so it reads channels as if they were positions.
# </details>


# %% tags=["task_09_4"]
def non_local(x, theta, phi, g):
    """Each position adds what it reads from all positions: b c h w -> b c h w."""
    ### BEGIN SOLUTION
    query = (theta @ x.flatten(2)).mT  # b n d
    key = phi @ x.flatten(2)  # b d m
    value = (g @ x.flatten(2)).mT  # b m c
    y = (query @ key).softmax(dim=-1) @ value  # b n c
    return x + y.mT.unflatten(2, x.shape[2:])  # b n c -> b c n -> b c h w
    ### END SOLUTION


# %% tags=["check_09_4"]
with exercise.check(4):
    x = torch.tensor([[[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]]])  # 1 2 1 3: pixels (1, 0), (0, 1), (0, 0)
    sharp, same = torch.tensor([[20.0, 0.0], [0.0, 20.0]]), torch.eye(2)
    read = non_local(x, sharp, same, same) - x
    assert read.shape == x.shape, f"the result must have the shape of x, {tuple(x.shape)}"
    assert torch.allclose(read[0, :, 0, 2], torch.tensor([1 / 3, 1 / 3]), atol=1e-4), (
        f"pixel (0, 0) fits all keys alike, so it reads the average (1/3, 1/3), not {[round(v, 3) for v in read[0, :, 0, 2].tolist()]}: "
        "each query's weights sum to 1 over the keys"
    )
    assert torch.allclose(read[0, :, 0, :2], same, atol=1e-4), (
        "pixels (1, 0) and (0, 1) fit only themselves and must read themselves; are channels and positions scrambled?"
    )
    generator = torch.Generator().manual_seed(0)
    x, theta = torch.randn(2, 3, 2, 4, generator=generator), torch.randn(2, 3, generator=generator)
    phi, g = torch.randn(2, 3, generator=generator), torch.randn(3, 3, generator=generator)
    result = non_local(x, theta, phi, g)
    assert torch.allclose(non_local(x[:1], theta, phi, g), result[:1], atol=1e-4), (
        "an image must not depend on the other images"
    )
    query, keys, pixels = theta @ x[1, :, 1, 2], phi @ x[1].flatten(1), x[1].flatten(1)
    expected = x[1, :, 1, 2] + g @ pixels @ (query @ keys).softmax(dim=0)
    assert torch.allclose(result[1, :, 1, 2], expected, atol=1e-4), (
        "one pixel, computed by itself, comes out different: θ belongs to the pixel that asks, φ and g to those that answer"
    )

# %% [markdown]
# ## task_09_5 · What does it cost?
# difficulty 2/5 · importance 3/5 · 8 minutes
#
# Count on paper the multiplications of one non-local block (`dot_product`, one image, c channels inside and out, c even,
# d = c / 2, s × s pooling before φ and g, which leaves out windows that do not fit). Return two numbers: those of the four
# 1 × 1 convolutions, and those of the two products $\theta^\top \phi$ and (weights · g), done one after the other.
# Biases, pooling, norm and division do not count.
#
# (Without pooling the pairs overtake the projections at N = 2c positions: for c = 256 already at 23 × 23.)
#
# <details><summary>Hint 1: who lives where?</summary>
#
# θ and $W_z$ work at all N = h · w positions. φ and g work at the M = ⌊h/s⌋ · ⌊w/s⌋ pooled ones.
# </details>
#
# <details><summary>Hint 2: one at a time</summary>
#
# A 1 × 1 convolution from c to d channels costs c · d at each position. One score costs d, and there are N · M scores.
# </details>


# %% tags=["task_09_5"]
def multiplications(channels, height, width, subsample):
    """The multiplications of the projections, and those of the two products of pairs."""
    ### BEGIN SOLUTION
    n, m, d = height * width, (height // subsample) * (width // subsample), channels // 2
    return 2 * channels * d * (n + m), 2 * n * m * d
    ### END SOLUTION


# %% tags=["check_09_5"]
with exercise.check(5):
    projections, pairs = multiplications(2, 1, 1, 1)
    assert projections == 8, (
        f"one position, 2 channels, d = 1: four projections of 2 · 1 each are 8, not {projections}"
    )
    assert pairs == 2, f"one position, d = 1: one multiplication for the score, one for the mixing: 2, not {pairs}"
    projections, pairs = multiplications(4, 3, 5, 1)
    assert pairs == 900, (
        f"15 queries, 15 keys, d = 2: each of the two products costs 15 · 15 · 2, together 900, not {pairs}"
    )
    assert projections == 480, f"4 projections · 15 positions · 4 · 2 = 480, not {projections}"
    projections, pairs = multiplications(4, 4, 5, 2)
    assert pairs == 2 * 20 * 4 * 2, f"4 × 5 pooled by 2 leaves 2 · 2 = 4 keys, but 20 queries: 320, not {pairs}"
    assert projections == 8 * (2 * 20 + 2 * 4), (
        f"θ and W_z work at 20 positions, φ and g at 4: 384, not {projections}"
    )
