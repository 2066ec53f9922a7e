# %% [markdown]
# # Exercise 09 · Non-local
#
# You colour a grey picture by looking up, write the non-local block with its four pairings, let fewer keys answer without storing the
# map, repair a block in which channels ask channels, and count multiplications.
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
# ## task_09_1 · Colour by looking up
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# In the lesson a picture looks things up in itself. Here it looks them up in *another* picture, which may have another size: colour a grey
# picture after a coloured example. Each pixel i of the grey picture becomes an average of the **colours of all pixels j of the example**:
#
# $$\hat u_i = \sum_j \alpha_{ij} u_j \qquad \alpha_{ij} = \frac{\exp(-d_{ij} / \text{bandwidth}^2)}{\sum_l \exp(-d_{il} / \text{bandwidth}^2)}$$
#
# $d_{ij}$ compares brightness: it is the **mean** squared difference of the `patch_size` × `patch_size` patch around pixel i of the grey picture and the
# one around pixel j of the example, whose brightness is the mean of its channels. Beyond a border, the edge pixel is repeated. `patch_size` is odd.
#
# Shapes: `grey` 1 h w, `example` c p q -> c h w.
#
# <details><summary>Hint 1: who asks, who is asked, what is read?</summary>
#
# Queries are patches of `grey`, keys are patches of the example's brightness, values are the example's colours.
# </details>
#
# <details><summary>Hint 2: all patches at once</summary>
#
# Pad by `patch_size // 2` with `mode="replicate"` (it wants a batch axis), then `F.unfold(padded, patch_size)` gives
# 1 d n: one column for each pixel, row by row.
# </details>
#
# <details><summary>Hint 3: all differences at once</summary>
#
# With patches n d and m d, `query[:, None] - key[None]` is n m d. What is read is n c: mind the axes before it becomes c h w.
# </details>


# %% tags=["task_09_1"]
def colour_by_look_up(grey, example, patch_size, bandwidth):
    """Average the example's colours, weighted by how alike the patches' brightness is: 1 h w, c p q -> c h w."""

    ### BEGIN SOLUTION
    def patches(picture):  # 1 y x -> n d
        padded = F.pad(picture[None], (patch_size // 2,) * 4, mode="replicate")
        return F.unfold(padded, patch_size)[0].mT

    query, key = patches(grey), patches(example.mean(dim=0, keepdim=True))
    distance = (query[:, None] - key[None]).square().mean(dim=-1)  # n m
    weights = (-distance / bandwidth**2).softmax(dim=-1)
    return (example.flatten(1) @ weights.mT).unflatten(1, grey.shape[1:])  # c m, m n -> c n -> c h w
    ### END SOLUTION


# %% tags=["folded"]
def rounded(tensor):
    """The numbers of a tensor, for the sentences below."""
    return [round(value, 3) for value in tensor.flatten().tolist()]


def check_colours():
    """Four grey pixels ask an example of two pixels, with brightness 0.2 and 0.8."""
    grey = torch.tensor([[[0.2, 0.8, 0.5, 0.2]]])
    example = torch.tensor([[[0.4, 0.4]], [[0.2, 1.0]], [[0.0, 1.0]]])
    result = colour_by_look_up(grey, example, 1, 0.1)
    assert result.shape == (3, 1, 4), (
        f"four grey pixels and an example with three channels: the result is (3, 1, 4), not {tuple(result.shape)}"
    )
    assert torch.allclose(result[:, 0, :2], example[:, 0], atol=1e-3), (
        "the first two grey pixels are as bright as the two of the example, so they get the colours (0.4, 0.2, 0) and (0.4, 1, 1), "
        f"not {rounded(result[:, 0, 0])} and {rounded(result[:, 0, 1])}"
    )
    assert torch.allclose(result[:, 0, 2], torch.tensor([0.4, 0.6, 0.5]), atol=1e-3), (
        f"the third is as far from both, so it gets their average, (0.4, 0.6, 0.5), not {rounded(result[:, 0, 2])}: what do its weights sum to, and with which brightness is it compared?"
    )


# %% tags=["folded"]
black, ends = torch.zeros(1, 1, 1), torch.tensor([[[0.0, 1.0]]])


def check_bandwidth():
    """A black pixel asks a black and a white one, with two bandwidths."""
    (plain,) = rounded(colour_by_look_up(black, ends, 1, 1.0))
    assert abs(plain - 0.269) < 0.002, (
        f"black asks black and white with bandwidth 1: e⁻¹ / (1 + e⁻¹) = 0.269, not {plain}"
    )
    (half,) = rounded(colour_by_look_up(black, ends / 2, 1, 0.5))
    assert abs(half - 0.134) < 0.002, (
        f"black asks 0 and 0.5 with bandwidth 0.5: the weights are as 1 to e⁻¹ again, and it becomes 0.134, not {half}: what is squared?"
    )


# %% tags=["check_09_1"]
with exercise.check(1):
    check_colours()
    check_bandwidth()
    fade = torch.linspace(0, 1, 8).view(1, 2, 4)
    example = torch.cat([fade, 1 - fade])  # equally bright everywhere
    flat = colour_by_look_up(torch.full((1, 3, 5), 0.5), example, 3, 0.1)
    assert torch.allclose(flat, torch.tensor(0.5), atol=1e-3), (
        "grey picture and example are equally bright everywhere, so all pixels count alike and the colour is (0.5, 0.5), "
        f"not {rounded(flat[:, 0, 0])} in the corner: what do the patches hold beyond a border?"
    )
    (patched,) = rounded(colour_by_look_up(black, ends, 3, 1.0))
    assert abs(patched - 0.269) > 0.002, (
        f"patches of 3 × 3 give the same as single pixels, {patched}: what is compared?"
    )
    assert abs(patched - 0.417) < 0.002, (
        f"3 × 3 patches of black, and those of (0, 1), where 3 and 6 of 9 pixels are white: black becomes 0.417, not {patched}; "
        "how do the 9 differences become one d?"
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
# | `dot_product` | $\theta_i^\top \phi_j / n$ |
# | `concatenation` | $\mathrm{ReLU}(w_f^\top [\theta_i, \phi_j]) / n$ |
#
# θ, φ, g, $W_z$, $w_f$ are `query`, `key`, `value`, `output`, `pair`; n = h · w. No scaling by √d. A fresh block is the
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
        inner, self.pairing = channels // 2, pairing
        self.query, self.key = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.value, self.output = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.pair, self.norm = nn.Linear(2 * inner, 1, bias=False), nn.BatchNorm2d(channels)
        ### BEGIN SOLUTION
        nn.init.zeros_(self.norm.weight)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        query, key, value = (conv(x).flatten(2) for conv in (self.query, self.key, self.value))  # b d n
        if self.pairing == "gaussian":
            query = key = x.flatten(2)
        scores = query.mT @ key  # b n m
        if self.pairing == "concatenation":
            of_query, of_key = self.pair.weight.chunk(2, dim=1)  # 1 d
            scores = ((of_query @ query).mT + of_key @ key).relu()  # b n 1, b 1 m -> b n m
        weights = scores.softmax(dim=-1) if "gaussian" in self.pairing else scores / key.shape[2]
        return x + self.norm(self.output((value @ weights.mT).unflatten(2, x.shape[2:])))  # b d m, b m n -> b d n
        ### END SOLUTION


# %% tags=["folded"]
PAIRINGS = ("dot_product", "embedded_gaussian", "gaussian", "concatenation")


def check_start(pairing, x):
    """A fresh block is the identity, and can learn."""
    block = NonLocal(4, pairing).eval()
    result = block(x)
    assert result.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(result.shape)}"
    assert torch.equal(result, x), (
        f"{pairing}: a fresh block must return x itself; what is its first output added to, and scaled by?"
    )
    assert block.output.weight.any(), (
        "W_z must keep its random start: two zeros in a row, γ and W_z, would never wake"
    )


# %% tags=["folded"]
def check_axes(pairing, x):
    """The pixels are a bag, and the images of a batch do not meet."""
    block = NonLocal(4, pairing).eval()
    nn.init.ones_(block.norm.weight)
    order, together = torch.randperm(15), block(x)
    shuffled = block(x.flatten(2)[:, :, order].view_as(x)).flatten(2)
    assert torch.allclose(shuffled, together.flatten(2)[:, :, order], atol=1e-4), (
        f"{pairing}: shuffled pixels no longer give shuffled outputs: positions and channels got mixed on the way back to an image"
    )
    assert torch.allclose(block(x[:1]), together[:1], atol=1e-4), (
        f"{pairing}: another image of the batch changed this one"
    )


# %% tags=["folded"]
def simple_block(pairing):
    """Your block with θ = φ = g = the first channel, W_z = (1, 0, …), w_f = (1, 0, 2, 0), and a norm that does nothing."""
    block = NonLocal(4, pairing).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        block.query.weight[0, 0] = block.key.weight[0, 0] = block.value.weight[0, 0] = block.output.weight[0, 0] = 1.0
        block.pair.weight.copy_(torch.tensor([[1.0, 0.0, 2.0, 0.0]]))
        block.norm.weight.fill_((1 + block.norm.eps) ** 0.5)
    return block


# %% tags=["folded"]
three = torch.tensor([[[[0.0, 1.0, -3.0]], [[5.0, 0.0, 0.0]], [[0.0] * 3], [[0.0] * 3]]])  # 1 4 1 3: three pixels
first, pixels = three[0, 0, 0], three[0, :, 0]  # θ = φ = g is `first`
SCORES = {
    "θᵀφ": first[:, None] * first,
    "xᵀx": pixels.mT @ pixels,
    "ReLU(w_fᵀ[θ, φ])": (first[:, None] + 2 * first).relu(),
    "w_fᵀ[θ, φ] without the ReLU": first[:, None] + 2 * first,
    "ReLU(w_fᵀ[φ, θ])": (2 * first[:, None] + first).relu(),
    "θᵀφ/√d": first[:, None] * first / 2**0.5,
}
WEIGHINGS = {
    "divided by n = 3": lambda s: s / 3,
    "with a softmax over the keys": lambda s: s.softmax(dim=1),
    "with a softmax over the queries": lambda s: s.softmax(dim=0),
    "as they are": lambda s: s,
    "divided by the 2 channels of θ": lambda s: s / 2,
    "divided by their sum": lambda s: s / s.sum(dim=1, keepdim=True),
}

# %% tags=["folded"]
WAYS = {  # what each way to compare and to share out reads
    f"the scores {score}, {name}": weigh(s) @ first
    for score, s in SCORES.items()
    for name, weigh in WEIGHINGS.items()
}
DUE = {
    "dot_product": "the scores θᵀφ, divided by n = 3",
    "embedded_gaussian": "the scores θᵀφ, with a softmax over the keys",
    "gaussian": "the scores xᵀx, with a softmax over the keys",
    "concatenation": "the scores ReLU(w_fᵀ[θ, φ]), divided by n = 3",
}

# %% tags=["check_09_2"]
with exercise.check(2), torch.no_grad():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 5)
    for pairing in PAIRINGS:
        check_start(pairing, x)
        check_axes(pairing, x)
    for pairing in PAIRINGS:
        y = simple_block(pairing)(three)[0, 0, 0] - first
        alike = [way for way, values in WAYS.items() if torch.allclose(y, values, atol=1e-3)]
        seen = next(iter(alike), "no pairing that we know")
        assert torch.allclose(y, WAYS[DUE[pairing]], atol=1e-3), (
            f"{pairing}: y should be {rounded(WAYS[DUE[pairing]])}, and is {rounded(y)}: that is what comes of {seen}"
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


# %% tags=["folded"]
generator = torch.Generator().manual_seed(0)
features = torch.randn(2, 3, 4, 6, generator=generator)
w_query, w_key, w_value = (torch.randn(d, 3, generator=generator) for d in (2, 2, 5))

# %% tags=["check_09_3"]
with exercise.check(3):
    x = features
    result = read_fewer_keys(x, w_query, w_key, w_value, 2)
    assert result.shape == (2, 5, 4, 6), (
        f"all 4 × 6 positions ask, and each gets 5 channels: the result is (2, 5, 4, 6), not {tuple(result.shape)}"
    )
    all_keys = read_fewer_keys(x, w_query, w_key, w_value, 1)
    q, k, v = (w @ x.flatten(2) for w in (w_query, w_key, w_value))
    textbook = (v @ (q.mT @ k).softmax(dim=-1).mT).view(2, 5, 4, 6)
    assert torch.allclose(all_keys, textbook, atol=1e-4), (
        "with windows of 1 × 1 the result must equal the textbook: softmax over the keys of θᵀφ, without √d, "
        "then transposed before it becomes an image"
    )
    one_key = read_fewer_keys(x[:, :, :3, :3], w_query, w_key, w_value, 3)
    largest = w_value @ x[:, :, :3, :3].amax(dim=(2, 3))[:, :, None]
    assert torch.allclose(one_key, largest[..., None].expand_as(one_key), atol=1e-4), (
        "with a single window there is one key, so all read g of the maximum of x: pool x (its maximum), then project"
    )

# %% [markdown]
# ## task_09_4 · Repair a block in which channels ask
# difficulty 3/5 · importance 5/5 · 10 minutes
#
# The same look-up along another axis: every *channel* asks all channels. With $x_c$ the n = h · w numbers of channel c,
#
# $$z_c = x_c + \sum_k \mathrm{softmax}_k\Bigl(\frac{x_c \cdot x_k}{n}\Bigr)\, x_k$$
#
# The code below runs, its shapes are right, networks train with it, and it is wrong in two ways.
#
# ```python
# def channels_ask(x):
#     b, c, h, w = x.shape
#     flat = x.reshape(b, h * w, c)  # b n c
#     weights = (flat.mT @ flat / (h * w)).softmax(dim=1)  # b c k
#     y = (flat @ weights.mT).reshape(b, c, h, w)
#     return x + y
# ```
#
# Find both by asking: which numbers stand in one column of `flat`? And over what does each row of `weights` sum to 1? Write it correctly.
#
# Shapes: `x` b c h w -> b c h w.
#
# <details><summary>Hint 1: the numbers in a column</summary>
#
# `reshape` keeps the order in memory. Print `flat[0, :, 0]` for an image whose channels are 0, 1, 2 everywhere.
# </details>
#
# <details><summary>Hint 2: the sum to 1</summary>
#
# Row c of `weights` belongs to the channel that asks. Axis 0 is the batch, axis 1 who asks, axis 2 who answers.
# </details>


# %% tags=["task_09_4"]
def channels_ask(x):
    """Each channel adds what it reads from all channels: b c h w -> b c h w."""
    ### BEGIN SOLUTION
    flat = x.flatten(2)  # b c n
    weights = (flat @ flat.mT / flat.shape[2]).softmax(dim=-1)  # b c k
    return x + (weights @ flat).view_as(x)
    ### END SOLUTION


# %% tags=["check_09_4"]
with exercise.check(4):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 3, 4, generator=generator)
    result = channels_ask(x)
    assert result.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(result.shape)}"
    assert torch.allclose(channels_ask(x[:1]), result[:1], atol=1e-4), "another image of the batch changed this one"
    order = torch.randperm(12, generator=generator)
    shuffled = channels_ask(x.flatten(2)[:, :, order].view_as(x)).flatten(2)
    assert torch.allclose(shuffled, result.flatten(2)[:, :, order], atol=1e-4), (
        "shuffled pixels no longer give shuffled outputs: are channels and positions mixed on the way in, or on the way out?"
    )
    x = torch.tensor([[6.0, 0.0], [0.0, 6.0], [0.0, 0.0]]).view(1, 3, 1, 2)  # three channels of two pixels
    read = (channels_ask(x) - x)[0, :, 0]
    assert torch.allclose(read[2], torch.tensor([2.0, 2.0]), atol=1e-3), (
        f"channel (0, 0) fits all three alike and reads their average, (2, 2), not {rounded(read[2])}: what do its weights sum to?"
    )
    assert torch.allclose(read[:2], x[0, :2, 0], atol=1e-3), (
        f"channels (6, 0) and (0, 6) fit themselves only and read themselves, not {rounded(read[0])} and {rounded(read[1])}"
    )
    x = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(1, 2, 1, 4)
    read = (channels_ask(x) - x)[0, 0, 0, 0].item()
    assert abs(read - 0.6225) < 1e-3, (
        f"channel (1, 1, 0, 0) fits itself by 2 / n = ½ and (0, 0, 0, 0) by 0: its first pixel reads e^½ / (e^½ + 1) = 0.622, not {read:.3f}"
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
# (Without pooling the pairs overtake the projections at n = 2c positions: for c = 256 already at 23 × 23.)
#
# <details><summary>Hint 1: who lives where?</summary>
#
# θ and $W_z$ work at all n = h · w positions. φ and g work at the m = ⌊h/s⌋ · ⌊w/s⌋ pooled ones.
# </details>
#
# <details><summary>Hint 2: one at a time</summary>
#
# A 1 × 1 convolution from c to d channels costs c · d at each position. One score costs d, and there are n · m scores.
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
