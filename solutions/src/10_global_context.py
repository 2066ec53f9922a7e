# %% [markdown]
# # Exercise 10 · Global context
#
# You fold a non-local block whose queries are all equal into two matrices, measure how much maps differ, give GC a map for each group of channels, repair a
# block that pools everything alike, and count multiplications.
#
# *Minutes:* 57 · *Needs:* 10
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.exercises import Exercise

torch.manual_seed(0)  # the layers of task 3 start at random
exercise = Exercise("10_global_context", points=[3, 2, 4, 3, 2])

# %% [markdown]
# ## task_10_1 · Fold the block
# difficulty 3/5 · importance 5/5 · 14 minutes
#
# A trained non-local block turned out to have equal queries: the weight of θ is zero, and only its bias $b_\theta$ is left. In the lesson most other biases were zero, and
# there was no norm. Here they are not. Derive on paper what the block computes:
#
# $$z_i = x_i + \gamma \odot \frac{W_z \bigl(\sum_j w_{ij} (W_g x_j + b_g)\bigr) + b_z - \mu}{\sqrt{v + \varepsilon}} + \beta$$
# $$w_{ij} = \mathrm{softmax}_j\bigl(b_\theta^\top (W_\phi x_j + b_\phi)\bigr)$$
#
# Return three tensors `w_k` (c), `w_v` (c c) and `shift` (c), so that $z_i = x_i + \mathrm{shift} + W_v \sum_j \alpha_j x_j$ with $\alpha_j = \mathrm{softmax}_j(w_k \cdot x_j)$.
#
# `layers` is a dictionary of tensors: `theta_bias`, `phi_bias`, `g_bias` (d each), `phi_weight`, `g_weight` (d c), `z_weight` (c d), `z_bias` (c), and of the norm
# `gamma`, `beta`, `mean`, `variance` (c each). `eps` is ε.
#
# <details><summary>Hint 1: what does a softmax not see?</summary>
#
# A number that is added to all scores of one query changes no weight. Which of the biases is such a number?
# </details>
#
# <details><summary>Hint 2: where does a bias inside the sum go?</summary>
#
# The weights sum to 1, so a constant vector that stands beside every $x_j$ comes out of the sum as it is. Then follow it through $W_z$.
# </details>
#
# <details><summary>Hint 3: the norm</summary>
#
# In use, a batch norm multiplies each output channel by one number and adds another. Channels of the output are the *rows* of $W_z$.
# </details>


# %% tags=["task_10_1"]
def fold(layers, eps):
    """The key, the matrix and the shift of the simplified block that computes the same: c, c c, c."""
    ### BEGIN SOLUTION
    w_k = layers["theta_bias"] @ layers["phi_weight"]  # d, d c -> c
    factor = layers["gamma"] / (layers["variance"] + eps).sqrt()  # c
    w_v = factor[:, None] * (layers["z_weight"] @ layers["g_weight"])  # c d, d c -> c c
    constant = layers["z_weight"] @ layers["g_bias"] + layers["z_bias"]
    return w_k, w_v, factor * (constant - layers["mean"]) + layers["beta"]
    ### END SOLUTION


# %% tags=["folded"]
def rounded(tensor):
    """The numbers of a tensor, for the sentences below."""
    return [round(value, 3) for value in tensor.flatten().tolist()]


def plain_layers():
    """c = 3, d = 2; all biases zero, and a norm that does nothing."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"phi_weight": (2, 3), "g_weight": (2, 3), "z_weight": (3, 2), "theta_bias": (2,)}
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    made |= {"phi_bias": torch.zeros(2), "g_bias": torch.zeros(2), "z_bias": torch.zeros(3)}
    return made | {"gamma": torch.ones(3), "beta": torch.zeros(3), "mean": torch.zeros(3), "variance": torch.ones(3)}


# %% tags=["folded"]
def check_matrices():
    """The key and the matrix, where no bias but θ's counts and the norm does nothing."""
    layers = plain_layers()
    w_k, w_v, shift = fold(layers, 0.0)
    assert w_k.shape == (3,) and w_v.shape == (3, 3) and shift.shape == (3,), (
        f"with c = 3 and d = 2 the shapes are (3,), (3, 3), (3,), not {tuple(w_k.shape)}, {tuple(w_v.shape)}, {tuple(shift.shape)}"
    )
    assert torch.allclose(w_k, layers["theta_bias"] @ layers["phi_weight"], atol=1e-4), (
        f"without other biases the score is b_θᵀ W_φ x: w_k is {rounded(layers['theta_bias'] @ layers['phi_weight'])}, not {rounded(w_k)}"
    )
    pixel = torch.tensor([1.0, 2.0, -1.0])
    through = layers["z_weight"] @ (layers["g_weight"] @ pixel)
    assert torch.allclose(w_v @ pixel, through, atol=1e-4), (
        f"a pixel (1, 2, −1) passes W_g, then W_z and becomes {rounded(through)}, not {rounded(w_v @ pixel)}"
    )
    assert torch.allclose(shift, torch.zeros(3), atol=1e-4), (
        f"without biases nothing is shifted, but shift is {rounded(shift)}"
    )


# %% tags=["folded"]
def check_biases():
    """What becomes of the biases of φ, g and z."""
    layers = plain_layers()
    w_k, _, shift = fold(layers, 0.0)
    moved = fold(layers | {"phi_bias": torch.tensor([3.0, -1.0])}, 0.0)
    assert torch.allclose(moved[0], w_k, atol=1e-4) and torch.allclose(moved[2], shift, atol=1e-4), (
        "another bias of φ changed the result, but it adds the same number to all scores"
    )
    shift = fold(layers | {"g_bias": torch.tensor([2.0, 0.0])}, 0.0)[2]
    due = 2 * layers["z_weight"][:, 0]
    assert torch.allclose(shift, due, atol=1e-4), (
        f"b_g = (2, 0) is added to every value, so twice the first column of W_z, {rounded(due)}, arrives everywhere, not {rounded(shift)}"
    )
    shift = fold(layers | {"z_bias": torch.tensor([0.0, 1.0, 0.0])}, 0.0)[2]
    assert torch.allclose(shift, torch.tensor([0.0, 1.0, 0.0]), atol=1e-4), (
        f"b_z = (0, 1, 0) arrives everywhere as it is, but shift is {rounded(shift)}"
    )


# %% tags=["check_10_1"]
with exercise.check(1):
    check_matrices()
    check_biases()
    layers = plain_layers()
    _, w_v, _ = fold(layers, 0.0)
    norm = {"variance": torch.tensor([3.0, 8.0, 15.0]), "mean": torch.tensor([0.0, 6.0, 0.0])}
    _, scaled, shift = fold(layers | norm | {"beta": torch.tensor([0.0, 0.0, 5.0])}, 1.0)
    parts = torch.tensor([2.0, 3.0, 4.0])
    assert torch.allclose(scaled * parts[:, None], w_v, atol=1e-4), (
        "variances of 3, 8, 15 and ε = 1: output channels 0, 1, 2 are divided by 2, 3, 4, "
        f"not by {rounded((w_v / scaled)[:, 0])}: what is under the root, and which axis of w_v holds the output channels?"
    )
    assert torch.allclose(shift, torch.tensor([0.0, -2.0, 5.0]), atol=1e-4), (
        f"μ = 6 in channel 1, where √(v + ε) is 3, and β = 5 in channel 2 make the shift (0, −2, 5), not {rounded(shift)}"
    )
    gamma = torch.tensor([1.0, 2.0, 1.0])
    _, doubled, shift = fold(layers | norm | {"gamma": gamma, "beta": torch.tensor([0.0, 5.0, 0.0])}, 1.0)
    assert torch.allclose(doubled, gamma[:, None] * scaled, atol=1e-4), (
        f"γ = 2 in channel 1 doubles row 1 of w_v to {rounded(2 * scaled[1])}, not to {rounded(doubled[1])}, and leaves the others"
    )
    assert torch.allclose(shift, torch.tensor([0.0, 1.0, 0.0]), atol=1e-4), (
        f"in channel 1, γ = 2 makes −4 of the −2, and β = 5 is added after it: the shift is (0, 1, 0), not {rounded(shift)}"
    )

# %% [markdown]
# ## task_10_2 · Do they differ?
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# The average distance of the maps of *different* asking pixels: in the lesson a pixel was also compared with itself, which makes all numbers too small. Here only pairs i ≠ i′ count.
# The distance is the lesson's, $\tfrac12 \sum_j |\alpha_{ij} - \alpha_{i'j}|$. First average over the pairs of an image, then over images. An image in which fewer than two pixels ask
# does not count. If none counts, return 0.
#
# Shapes: `maps` b n m (n pixels, m keys), `asks` b n, True for those who ask -> a number (a tensor without axes, or a float).
#
# <details><summary>Hint 1: how many pairs?</summary>
#
# Five asking pixels make 5 · 5 pairs. How many of these are a pixel with itself, and what do these add to the sum?
# </details>
#
# <details><summary>Hint 2: one image at a time</summary>
#
# Keep the rows of those who ask; compare every row with every row; add up; divide by the number of pairs that count.
# </details>


# %% tags=["task_10_2"]
def distance_of_others(maps, asks):
    """The average distance of the maps of different asking pixels: b n m, b n -> a number."""
    ### BEGIN SOLUTION
    found = []
    for rows in (some[which] for some, which in zip(maps, asks)):
        k = len(rows)
        if k > 1:
            found.append((rows[:, None] - rows[None]).abs().sum() / 2 / (k * (k - 1)))
    return torch.stack(found).mean() if found else 0.0
    ### END SOLUTION


# %% tags=["folded"]
left, right, even = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]


def check_pairs():
    """One image: who is compared with whom."""
    two = torch.tensor([[left, right]])
    everyone = torch.ones(1, 2) > 0
    found = float(distance_of_others(two, everyone))
    assert abs(found - 1) < 1e-4, (
        f"two pixels that share no key: the distance is 1, not {found:.3f}. Is it halved? Is a pixel compared with itself?"
    )
    found = float(distance_of_others(torch.tensor([[left, even]]), everyone))
    assert abs(found - 0.5) < 1e-4, (
        f"maps (1, 0, 0) and (½, 0, ½): half of the weight must move, so 0.5, not {found:.3f}"
    )
    found = float(distance_of_others(torch.tensor([[left, right, left]]), torch.tensor([[True, False, True]])))
    assert abs(found) < 1e-4, (
        f"the two pixels that ask have the same map, so the distance is 0, not {found:.3f}: who is counted?"
    )


# %% tags=["check_10_2"]
with exercise.check(2):
    check_pairs()
    maps = torch.tensor([[left, right, left, left], [left, right, right, right]])
    found = float(distance_of_others(maps, torch.tensor([[True, True, False, False], [True, True, True, True]])))
    assert abs(found - 0.75) < 1e-4, (
        f"an image with average 1 (one pair) and one with average ½ (six pairs): images count alike, so 0.75, not {found:.3f}"
    )
    found = float(distance_of_others(maps, torch.tensor([[True, False, False, False], [True, True, True, True]])))
    assert abs(found - 0.5) < 1e-4, (
        f"in the first image only one pixel asks, so only the second counts: 0.5, not {found:.3f}"
    )
    found = float(distance_of_others(maps, torch.zeros(2, 4) > 0))
    assert found == 0, f"if nobody asks, return 0, not {found}"

# %% [markdown]
# ## task_10_3 · A map for each group
# difficulty 4/5 · importance 4/5 · 15 minutes
#
# GC has one map. Give it G: split the c channels into G groups *of neighbours* (the first c/G channels, the next c/G, …), and let each group pool with a map of its own, which is made from **all**
# channels. The G pooled parts are put back side by side, pass one bottleneck, and are added everywhere:
#
# $$\alpha_{pj} = \mathrm{softmax}_j\bigl((W_k x_j)_p\bigr)$$
# $$u = \bigl[\textstyle\sum_j \alpha_{pj}\, x_j^{(p)}\bigr]_{p=1..G} \qquad z_i = x_i + W_2\, \mathrm{ReLU}(\mathrm{LN}(W_1 u))$$
#
# Complete the start of the last layer, so that a fresh block is the identity, and write `forward`.
#
# Shapes: `x` b c h w -> b c h w; u b c; c is a multiple of G.
#
# <details><summary>Hint 1: one axis more</summary>
#
# `x.flatten(2).unflatten(1, (groups, -1))` gives every group its own axis. Which axis does its map need, beside the positions?
# </details>
#
# <details><summary>Hint 2: the product</summary>
#
# Scores b G n; softmax over the n positions; multiply with b G c/G n and sum over n; then merge the two middle axes.
# </details>
#
# <details><summary>Hint 3: what must be zero?</summary>
#
# What is added is the output of the last layer, so both of its parameters matter. All else keeps its random start.
# </details>


# %% tags=["task_10_3"]
class GroupedContext(nn.Module):
    """One map for each group of channels, one summary for all positions: b c h w -> b c h w."""

    def __init__(self, channels, groups, hidden):
        super().__init__()
        self.groups = groups
        self.key = nn.Conv2d(channels, groups, 1)
        self.reduce, self.norm = nn.Linear(channels, hidden), nn.LayerNorm(hidden)
        self.expand = nn.Linear(hidden, channels)
        ### BEGIN SOLUTION
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        weights = self.key(x).flatten(2).softmax(dim=2)  # b G n
        parts = x.flatten(2).unflatten(1, (self.groups, -1))  # b G c/G n
        context = (parts * weights[:, :, None]).sum(dim=3).flatten(1)  # b c
        added = self.expand(self.norm(self.reduce(context)).relu())
        return x + added[:, :, None, None]
        ### END SOLUTION


# %% tags=["folded"]
def transparent(groups, scores):
    """Your block with c = 4: scores 4 → G as given; W_1 makes 8 = (u + 1, −u − 1), so LN only rescales; W_2 takes u + 1 back."""
    block = GroupedContext(4, groups, 8)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        block.key.weight.copy_(torch.tensor(scores)[:, :, None, None])
        block.reduce.weight.copy_(torch.cat([torch.eye(4), -torch.eye(4)]))
        block.reduce.bias.copy_(torch.tensor([1.0, -1.0]).repeat_interleave(4))
        block.norm.weight.fill_(1.0)
        block.expand.weight.copy_(torch.cat([torch.eye(4), -torch.eye(4)], dim=1))
    return block


def added_for(u):
    """What the transparent block adds if this is the summary u."""
    return (u + 1) / (u + 1).square().mean().sqrt()


# %% tags=["folded"]
def check_fresh():
    """A fresh block is the identity; a trained one adds the same everywhere."""
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3, 5)
    fresh = GroupedContext(6, 3, 5)
    assert fresh(x).shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(fresh(x).shape)}"
    assert torch.equal(fresh(x), x), (
        "a fresh block must return x itself: what is added to x, and with which numbers does it start?"
    )
    assert fresh.key.weight.any() and fresh.reduce.weight.any(), (
        "only the last layer starts at zero; W_k and W_1 keep their random start"
    )
    nn.init.normal_(fresh.expand.weight)
    added = (fresh(x) - x).flatten(2)
    assert torch.allclose(added, added[:, :, :1].expand_as(added), atol=1e-4), (
        "z − x must be the same at every position"
    )
    assert torch.allclose(fresh(x[:1]), fresh(x)[:1], atol=1e-4), "another image of the batch changed this one"


# %% tags=["check_10_3"]
with exercise.check(3), torch.no_grad():
    check_fresh()
    x = torch.zeros(1, 4, 2, 3)
    x[0, :, 0] = torch.tensor([[0.0, 0.0, 9.0], [1.0, 2.0, 6.0], [9.0, 0.0, 0.0], [4.0, 2.0, 3.0]])
    x[0, [1, 3], 1] = torch.tensor([[3.0, 1.0, 2.0], [1.0, 5.0, 3.0]])
    block = transparent(2, [[9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0]])
    added = (block(x) - x)[0, :, 0, 0]
    u = torch.tensor([9.0, 6.0, 9.0, 4.0])
    for mistake, seen in {
        "that comes of the average over all positions": x.mean(dim=(2, 3))[0],
        "that comes of one map for both groups": torch.tensor([9.0, 6.0, 0.0, 3.0]),
        "that comes of groups that alternate; a group is neighbours": torch.tensor([9.0, 1.0, 0.0, 4.0]),
        "that comes of a softmax in each row; a map has one, over all positions": u
        + torch.tensor([0.0, 2.0, 0.0, 3.0]),
        "that comes of a mean over the positions; the weights sum to 1 already": u / 6,
    }.items():
        assert not torch.allclose(added, added_for(seen), atol=1e-3), (
            f"u should be (9, 6, 9, 4), but what is added is {rounded(added)}: {mistake}"
        )
    assert torch.allclose(added, added_for(u), atol=1e-3), (
        "group 0 (channels 0, 1) reads the upper right pixel and group 1 (channels 2, 3) the upper left, so u = (9, 6, 9, 4), and after LN and ReLU "
        f"{rounded(added_for(u))} is added, not {rounded(added)}: what do the weights of a map sum to, and is LN before the ReLU?"
    )

# %% [markdown]
# ## task_10_4 · Repair a block that pools everything alike
# difficulty 3/5 · importance 5/5 · 10 minutes
#
# Somebody wrote a GC block (without biases). It runs, its shapes are right, it trains. It is wrong in two ways.
#
# ```python
# def global_context(x, w_k, w_1, w_2):
#     weights = (w_k @ x.flatten(2)).softmax(dim=1)  # 1 c, b c n -> b 1 n
#     context = (x.flatten(2) * weights).sum(dim=2)  # b c
#     hidden = context @ w_1.mT  # b d
#     hidden = F.layer_norm(hidden, hidden.shape).relu()
#     return x + (hidden @ w_2.mT)[:, :, None, None]
# ```
#
# Find both by asking: what are the numbers in `weights`? And does an image's result change with the other images of its batch? Write it correctly; keep ε of `F.layer_norm` as it is.
#
# Shapes: `x` b c h w, `w_k` 1 c, `w_1` d c, `w_2` c d -> b c h w.
#
# <details><summary>Hint 1: look at the weights</summary>
#
# Print `weights` for random x. Axis 0 is the batch; how long is axis 1?
# </details>
#
# <details><summary>Hint 2: look at the norm</summary>
#
# Its second argument names the axes over which mean and deviation are taken. Which of the two axes of `hidden` belongs to one image?
# </details>


# %% tags=["task_10_4"]
def global_context(x, w_k, w_1, w_2):
    """Pool where it matters; bottleneck; add everywhere: b c h w -> b c h w."""
    ### BEGIN SOLUTION
    weights = (w_k @ x.flatten(2)).softmax(dim=2)  # b 1 n
    context = (x.flatten(2) * weights).sum(dim=2)  # b c
    hidden = F.layer_norm(context @ w_1.mT, w_1.shape[:1]).relu()  # b d
    return x + (hidden @ w_2.mT)[:, :, None, None]
    ### END SOLUTION


# %% tags=["folded"]
def check_images():
    """Images do not meet, and what is added is the same everywhere."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, generator=generator)
    w_k, w_1, w_2 = (torch.randn(*shape, generator=generator) for shape in ((1, 3), (4, 3), (3, 4)))
    result = global_context(x, w_k, w_1, w_2)
    assert result.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(result.shape)}"
    assert torch.allclose(global_context(x[:1], w_k, w_1, w_2), result[:1], atol=1e-4), (
        "another image of the batch changed this one: over what does the norm take its mean?"
    )
    added = (result - x).flatten(2)
    assert torch.allclose(added, added[:, :, :1].expand_as(added), atol=1e-4), (
        "what is added must be equal everywhere"
    )


# %% tags=["check_10_4"]
with exercise.check(4):
    check_images()
    x = torch.zeros(1, 2, 1, 3)
    x[0, :, 0] = torch.tensor([[30.0, 0.0, 0.0], [1.0, 5.0, 9.0]])  # W_k sees channel 0: pixel 0 gets all weight
    w_1 = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0]])
    results = [
        (global_context(x, torch.tensor([[k, 0.0]]), w_1, torch.ones(2, 3)) - x)[0, 0, 0, 0].item()
        for k in (1.0, 0.0)
    ]
    hidden = [torch.tensor([1.0, -1.0, 30.0]), torch.tensor([5.0, -5.0, 10.0])]
    due = [((h - h.mean()) / h.std(correction=0)).relu().sum().item() for h in hidden]
    assert abs(results[0] - due[0]) < 1e-2, (
        f"W_k chooses pixel 0, so the context is (30, 1), W_1 makes (1, −1, 30), and LN, ReLU and a sum give {due[0]:.3f}, not {results[0]:.3f}"
    )
    assert abs(results[1] - due[1]) < 1e-2, (
        f"W_k = 0: all pixels count alike, the context is the average (10, 5), and the result {due[1]:.3f}, not {results[1]:.3f}"
    )

# %% [markdown]
# ## task_10_5 · What does each step save?
# difficulty 2/5 · importance 3/5 · 8 minutes
#
# Count on paper the multiplications for one image with c channels and n positions, and return four numbers:
#
# 1. the **non-local** block: four 1 × 1 convolutions with d = c / 2, and its two products of all pairs;
# 2. the **simplified** block with $W_v$ *inside* the sum: scores, $W_v$ at every pixel, mixture;
# 3. the same with $W_v$ *after* the sum;
# 4. **GC**: as the third, but with a bottleneck of c / r hidden units for $W_v$.
#
# Biases, softmax, norms, ReLU and the addition do not count. c is a multiple of 2r.
#
# <details><summary>Hint 1: scores and mixtures</summary>
#
# One score of the simplified block is a product of two vectors of length c; and the mixture multiplies every number of x once.
# </details>
#
# <details><summary>Hint 2: where does a matrix work?</summary>
#
# A c × c matrix costs c² each time it is applied. How often is it applied: once, or once a position?
# </details>


# %% tags=["task_10_5"]
def multiplications(channels, positions, reduction):
    """Non-local, simplified with W_v inside, simplified with W_v after, GC: four numbers."""
    ### BEGIN SOLUTION
    c, n, d = channels, positions, channels // 2
    pooling = 2 * n * c
    return 4 * n * c * d + 2 * n * n * d, pooling + n * c * c, pooling + c * c, pooling + 2 * c * (c // reduction)
    ### END SOLUTION


# %% tags=["check_10_5"]
with exercise.check(5):
    non_local, inside, after, gc = multiplications(4, 3, 2)
    assert non_local == 132, (
        f"c = 4, n = 3, d = 2: four projections of 3 · 4 · 2 and two products of 3 · 3 · 2 are 132, not {non_local}"
    )
    assert after == 40, f"scores 3 · 4, mixture 3 · 4, then one 4 × 4 matrix: 40, not {after}"
    assert inside == 72, f"scores 3 · 4, mixture 3 · 4, and a 4 × 4 matrix at 3 pixels: 72, not {inside}"
    non_local, inside, after, gc = multiplications(12, 5, 3)
    assert gc == 216, f"c = 12, n = 5, r = 3: pooling 2 · 5 · 12, and two matrices of 12 · 4: 216, not {gc}"
    assert after == 264, f"c = 12, n = 5: pooling 2 · 5 · 12, then 12 · 12: 264, not {after}"
