# %% [markdown]
# # Exercise 07 · Spatial transformer
#
# You write grid and sampler yourself, derive the gradient that trains them, find out which way a shift goes and how to go back, and
# repair a transformer.
#
# *Minutes:* 60 · *Needs:* 07
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here. Everywhere −1 and 1 are the outer **edges** of the image
# (`align_corners=False`), and points are (x, y): column before row.

# %%
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.exercises import Exercise

torch.manual_seed(0)  # the layer of task 5 starts at random
exercise = Exercise("07_spatial_transformer", points=[4, 3, 2, 3, 3])

# %% [markdown]
# ## task_07_1 · Grid and sampler
# difficulty 3/5 · importance 5/5 · 18 minutes
#
# Write two functions, without `F.affine_grid`, `F.grid_sample` and the library's.
#
# `affine_grid`: for the middle $(x^{out}, y^{out})$ of each output pixel, the point $A_\theta (x^{out}, y^{out}, 1)^\top$ of the input. Pixel $k$ of $w$ has its middle at $(2k + 1)/w - 1$.
#
# `bilinear_sample`: read each image at its points; the pixel in row $r$ and column $k$ counts $\max(0, 1 - |x - k|) \cdot \max(0, 1 - |y - r|)$, with $x$, $y$ in pixels; outside there are zeros.
#
# Shapes: `theta` b 2 3 -> b height width 2; `images` b c h w, `grid` b p q 2 -> b c p q.
#
# <details><summary>Hint 1: the grid</summary>
#
# Build the tensor of all $(x^{out}, y^{out}, 1)$, shape height·width 3, once. Times `theta.mT`, b 3 2, it is b height·width 2. Take the dtype of `theta`.
# </details>
#
# <details><summary>Hint 2: back to pixels</summary>
#
# Solve $x = (2k + 1)/w - 1$ for $k$. The width belongs to x, the height to y.
# </details>
#
# <details><summary>Hint 3: the sampler, as the formula stands</summary>
#
# `1 - (x[..., None] - torch.arange(w)).abs()`, clamped at 0, is b p q w; the same for y is b p q h. Join both with the images:
# `torch.einsum("bchw,bpqh,bpqw->bcpq", …)`.
# </details>


# %% tags=["task_07_1"]
def affine_grid(theta, height, width):
    """For each output pixel, the point of the input to read: b 2 3 -> b height width 2."""
    ### BEGIN SOLUTION
    x = (2 * torch.arange(width, dtype=theta.dtype) + 1) / width - 1
    y = (2 * torch.arange(height, dtype=theta.dtype) + 1) / height - 1
    down, across = torch.meshgrid(y, x, indexing="ij")  # height width
    target = torch.stack([across, down, torch.ones_like(across)], dim=-1).flatten(0, 1)
    return (target @ theta.mT).unflatten(1, (height, width))
    ### END SOLUTION


def bilinear_sample(images, grid):
    """Each point reads the pixels around it: b c h w, b p q 2 -> b c p q."""
    ### BEGIN SOLUTION
    h, w = images.shape[-2:]
    x, y = ((grid[..., 0] + 1) * w - 1) / 2, ((grid[..., 1] + 1) * h - 1) / 2  # b p q
    across = (1 - (x[..., None] - torch.arange(w)).abs()).clamp(min=0)  # b p q w
    down = (1 - (y[..., None] - torch.arange(h)).abs()).clamp(min=0)  # b p q h
    return torch.einsum("bchw,bpqh,bpqw->bcpq", images, down, across)
    ### END SOLUTION


# %% tags=["folded"]
def check_grid():
    """The middles of the pixels, x before y, and the whole of θ."""
    grid = affine_grid(torch.eye(2, 3)[None], 2, 4)
    assert grid.shape == (1, 2, 4, 2), (
        f"2 × 4 output pixels need a grid of shape (1, 2, 4, 2), not {tuple(grid.shape)}"
    )
    place = [round(value, 3) for value in grid[0, 0, 1].tolist()]
    assert place != [-0.5, -0.25], (
        f"row 0, column 1 of 2 × 4 has its middle at (−0.25, −0.5), not at {place}: which number is x?"
    )
    assert abs(grid).max() < 1, (
        f"the outermost points of 2 × 4 pixels lie at {abs(grid).max():.2f}: −1 and 1 are the edges of the image, and a pixel is read in its *middle*"
    )
    assert place == [-0.25, -0.5], f"row 0, column 1 of 2 × 4 has its middle at (−0.25, −0.5), not at {place}"
    theta = torch.tensor([[[0.0, 2.0, 0.5], [1.0, 0.0, 0.0]]])
    point = affine_grid(theta, 2, 4)[0, 0, 1]
    assert torch.allclose(point, torch.tensor([-0.5, -0.25])), (
        f"with θ = (0, 2, 0.5; 1, 0, 0) it reads x = 2·(−0.5) + 0.5 = −0.5 and y = −0.25, not {[round(value, 3) for value in point.tolist()]}"
    )


# %% tags=["check_07_1"]
with exercise.check(1):
    check_grid()
    image = torch.tensor([[[[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0]]]])  # 10·row + column
    for (x, y), value, advice in [
        ((-0.25, 0.5), 11.0, "x is across, y down, edges at ±1: the middle of row 1, column 1; all others weigh 0"),
        ((0.125, 0.0), 6.75, "x is column 1.75, y half way between the rows: mix four pixels by their distance"),
        ((1.0, 0.5), 6.5, "the right edge: half of the 13, and half of the zeros outside"),
        ((4.0, 0.5), 0.0, "far outside: zero"),
    ]:
        read = bilinear_sample(image, torch.tensor([[[[x, y]]]]))
        assert read.shape == (1, 1, 1, 1), f"one point of one image reads one number, not {tuple(read.shape)}"
        assert abs(read.item() - value) < 1e-4, f"at ({x}, {y}) stands {value}, not {read.item():.2f}: {advice}"
    two = bilinear_sample(torch.stack([image[0], -image[0]]), torch.tensor([[[[-0.25, 0.5]]], [[[0.25, 0.5]]]]))
    assert two.flatten().tolist() == [11, -12], "each image of a batch is read at its own points"

# %% [markdown]
# ## task_07_2 · The gradient by θ
# difficulty 4/5 · importance 4/5 · 16 minutes
#
# Derive on paper how a loss $L$ changes with the six numbers of θ, and return $\partial L / \partial \theta$, without autograd. Given are one image, θ, and
# `upstream`, $\partial L / \partial V$ for each output pixel. The first lines are written: `target` holds $(x^{out}, y^{out}, 1)$, `x`, `y` say where each output reads, **in pixels**,
# and `across`, `down` are the two triangles of the sampler.
#
# Shapes: `image` h w, `theta` 2 3, `upstream` p q; result 2 3.
#
# <details><summary>Hint 1: one output first</summary>
#
# By the chain rule $\partial V / \partial \theta_{11} = \partial V / \partial x \cdot \partial x / \partial x^{in} \cdot x^{out}$, and the last factor is $y^{out}$ for $\theta_{12}$, 1 for $\theta_{13}$. From $x = ((x^{in} + 1) w - 1)/2$: which number is $\partial x / \partial x^{in}$?
# </details>
#
# <details><summary>Hint 2: the slope of the value</summary>
#
# $\partial V / \partial x$ is the formula of the sampler with the triangle of x replaced by its slope: $\mathrm{sign}(k - x)$ where $|k - x| < 1$, zero elsewhere. The triangle of y stays.
# </details>
#
# <details><summary>Hint 3: all together</summary>
#
# First row: the sum over all outputs of upstream · ∂V/∂x · w/2 · target. Second row: the same with y and h.
# </details>


# %% tags=["task_07_2"]
def theta_gradient(image, theta, upstream):
    """How the loss changes with the six numbers: h w, 2 3, p q -> 2 3."""
    (h, w), (p, q) = image.shape, upstream.shape
    x_t = ((2 * torch.arange(q, dtype=theta.dtype) + 1) / q - 1).expand(p, q)
    y_t = ((2 * torch.arange(p, dtype=theta.dtype) + 1) / p - 1)[:, None].expand(p, q)
    target = torch.stack([x_t, y_t, torch.ones_like(x_t)], dim=-1)  # p q 3
    x, y = (((target @ theta.mT + 1) * torch.tensor([w, h]) - 1) / 2).unbind(dim=-1)  # p q, in pixels
    to_column, to_row = torch.arange(w) - x[..., None], torch.arange(h) - y[..., None]  # p q w, p q h
    across, down = (1 - to_column.abs()).clamp(min=0), (1 - to_row.abs()).clamp(min=0)
    ### BEGIN SOLUTION
    slope_across, slope_down = to_column.sign() * (across > 0), to_row.sign() * (down > 0)
    by_x = torch.einsum("hw,pqh,pqw->pq", image, down, slope_across) * w / 2
    by_y = torch.einsum("hw,pqh,pqw->pq", image, slope_down, across) * h / 2
    return torch.einsum("kpq,pqj->kj", upstream * torch.stack([by_x, by_y]), target)
    ### END SOLUTION


# %% tags=["folded"]
def check_rows(gradient):
    """Brightness changes from left to right only: the first row of the gradient is not zero, the second is."""
    assert gradient.shape == (2, 3), f"six numbers, as 2 × 3, not {tuple(gradient.shape)}"
    assert not (abs(gradient[0]).max() < 1e-5 < abs(gradient[1]).max()), (
        "brightness changes only from left to right, and the first row, which moves x, is zero: are the two rows exchanged?"
    )
    assert abs(gradient[1]).max() < 1e-5, (
        "brightness changes only from left to right, so the second row (y) must be zero"
    )


# %% tags=["folded"]
def check_shift(by_shift):
    """The gradient by θ₁₃, and what the wrong ones come from."""
    assert by_shift > 0, (
        f"a shift to the right reads brighter pixels, so ∂L/∂θ₁₃ must be positive, not {by_shift:.2f}"
    )
    assert abs(by_shift - 1) > 1e-5, (
        "∂L/∂θ₁₃ is 1, the slope from one *pixel* to the next; θ counts from edge to edge, −1 to 1"
    )
    assert abs(by_shift - 2.5) > 1e-5, "∂L/∂θ₁₃ is 2.5: that many pixels are one unit of y here, not of x"
    assert abs(by_shift - 0.5) > 1e-5, (
        "∂L/∂θ₁₃ is 0.5, a sixth of what is due, and there are six outputs: how do they come together?"
    )
    assert abs(by_shift - 6) > 1e-5, (
        "∂L/∂θ₁₃ is 6, twice what is due: how many units is the image wide, and how much does each of the two rows around the point count?"
    )
    assert abs(by_shift) < 5, (
        f"∂L/∂θ₁₃ is {by_shift:.2f}, far above 3: how much does each of the two rows around the point count, and which outputs?"
    )
    assert abs(by_shift - 3) < 1e-5, (
        f"the whole way from −1 to 1 is 6 pixels, each 1 brighter, so ∂L/∂θ₁₃ is 3, not {by_shift:.2f}"
    )


# %% tags=["folded"]
def check_random_image():
    """A random image, against autograd."""
    torch.manual_seed(0)
    image, up = torch.randn(5, 7), torch.randn(3, 4)
    theta = torch.tensor([[0.6, 0.1, 0.04], [-0.2, 0.7, 0.13]]).requires_grad_()
    grid = F.affine_grid(theta[None], [1, 1, 3, 4], align_corners=False)
    (F.grid_sample(image[None, None], grid, align_corners=False)[0, 0] * up).sum().backward()
    assert torch.allclose(theta_gradient(image, theta.detach(), up), theta.grad, atol=1e-4), (
        "right on ramps, but not on a random image: what do the pixels above and below the point add to the slope across?"
    )


# %% tags=["check_07_2"]
with exercise.check(2):
    ramp, half = torch.arange(6.0).expand(5, 6), 0.5 * torch.eye(2, 3)  # brightness = column: slope 1 across, 0 down
    up = torch.zeros(2, 3)
    up[0, 2] = 1.0  # only the output in row 0, column 2 counts; its middle is at (2/3, −1/2)
    gradient = theta_gradient(ramp, half, up)
    check_rows(gradient)
    check_shift(gradient[0, 2].item())
    assert torch.allclose(gradient[0], torch.tensor([2.0, -1.5, 3.0])), (
        f"∂L/∂θ₁₃ = 3 is right; the output that counts has its middle at (2/3, −1/2), so θ₁₁ and θ₁₂ get 2 and −1.5, not {[round(v, 2) for v in gradient[0, :2].tolist()]}"
    )
    down = theta_gradient(torch.arange(5.0)[:, None].expand(5, 6), half, up)
    assert torch.allclose(down[1], torch.tensor([5 / 3, -1.25, 2.5])), (
        f"brightness from top to bottom, over 5 rows: the second row is 5/3, −1.25, 2.5, not {[round(v, 2) for v in down[1].tolist()]}"
    )
    assert torch.allclose(theta_gradient(ramp, half, -2 * up), -2 * gradient), (
        "with −2 times the upstream gradient, −2 times the gradient is due: each output counts by its own"
    )
    check_random_image()

# %% [markdown]
# ## task_07_3 · Which way does it go?
# difficulty 2/5 · importance 5/5 · 8 minutes
#
# Derive on paper: a mark stands in column `column` of an image `width` pixels wide. The image is warped with $x^{in} = \text{scale} \cdot x^{out} + \text{shift}$ to an output `out_width` pixels wide.
# At which column of the output does the mark appear? It need not be a whole number, and it may lie outside.
#
# <details><summary>Hint 1: which of the two is known?</summary>
#
# The mark has a place in the *input*, so $x^{in}$ is known, and $x^{out}$ is wanted.
# </details>
#
# <details><summary>Hint 2: three steps</summary>
#
# From column to $x^{in}$, with the input's width; solve for $x^{out}$; from $x^{out}$ to a column, with the output's width.
# </details>


# %% tags=["task_07_3"]
def new_column(column, width, out_width, scale, shift):
    """Where in the output a mark in this column of the input appears."""
    ### BEGIN SOLUTION
    source = (2 * column + 1) / width - 1
    target = (source - shift) / scale
    return ((target + 1) * out_width - 1) / 2
    ### END SOLUTION


# %% tags=["check_07_3"]
with exercise.check(3):
    stays = new_column(3, 8, 8, 1.0, 0.0)
    assert abs(stays - 3) < 1e-9, (
        f"the identity leaves column 3 where it is, not at {stays:.2f}: do the first and the last step count alike?"
    )
    moved = new_column(3, 8, 8, 1.0, 0.5)
    assert abs(moved - 1) < 1e-9, (
        f"a shift of +0.5 moves the window right by 2 of 8 pixels, so the mark moves left, to column 1, not {moved:.2f} (edges at ±1)"
    )
    assert abs(new_column(0, 4, 8, 1.0, 0.0) - 0.5) < 1e-9, (
        "twice as many output pixels: the middle of pixel 0 of 4 lies between pixels 0 and 1 of 8, at 0.5"
    )
    zoomed = new_column(5, 8, 8, 0.5, 0.0)
    assert abs(zoomed - 6.5) < 1e-9, (
        f"column 5 lies 1.5 right of the middle; zoomed in twice, 3 right of it: 6.5, not {zoomed:.2f}"
    )
    both = new_column(5, 8, 8, 0.5, 0.25)
    assert abs(both - 4.5) < 1e-9, (
        f"shift 0.25 = 1 pixel: column 5 lies 0.5 right of the window's middle, zoomed in 1 right: 4.5, not {both:.2f}"
    )

# %% [markdown]
# ## task_07_4 · Back, and one after the other
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# `inverse`: the warp that undoes a warp: if θ reads at $A z + t$, the inverse maps $A z + t$ back to $z$.
#
# `chain`: one warp instead of two. `warp(warp(image, first), second)` should equal `warp(image, chain(first, second))`, but for the blur of reading twice.
# Mind the order: an output pixel first asks `second`.
#
# Shapes: all b 2 3, a warp for each image.
#
# <details><summary>Hint 1: solve</summary>
#
# $z' = A z + t$ gives $z = A^{-1} z' - A^{-1} t$. The shift of the inverse is not $-t$.
# </details>
#
# <details><summary>Hint 2: put one into the other</summary>
#
# The output's point $z$ reads at $A_2 z + t_2$ in the picture in between, which itself was read at $A_1 (\ldots) + t_1$. Multiply out.
# </details>
#
# <details><summary>Hint 3: or with square matrices</summary>
#
# Append the row (0, 0, 1) to each θ: then a chain is a matrix product and the inverse a matrix inverse.
# </details>


# %% tags=["task_07_4"]
def inverse(theta):
    """The warp back: b 2 3 -> b 2 3."""
    ### BEGIN SOLUTION
    back = torch.linalg.inv(theta[:, :, :2])
    return torch.cat([back, -back @ theta[:, :, 2:]], dim=2)
    ### END SOLUTION


def chain(first, second):
    """The one warp that equals warping by first, then by second: b 2 3, b 2 3 -> b 2 3."""
    ### BEGIN SOLUTION
    linear = first[:, :, :2] @ second[:, :, :2]
    return torch.cat([linear, first[:, :, :2] @ second[:, :, 2:] + first[:, :, 2:]], dim=2)
    ### END SOLUTION


# %% tags=["folded"]
def rounded(theta):
    """The six numbers of a warp, for the sentences below."""
    return [[round(value, 2) for value in row] for row in theta[0].tolist()]


# %% tags=["check_07_4"]
with exercise.check(4):
    zoom = torch.tensor([[[0.5, 0.0, 0.2], [0.0, 0.5, 0.0]]])
    turn = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.4]]])
    back = inverse(zoom)
    assert back.shape == (1, 2, 3), f"the inverse is a warp of the same shape, not {tuple(back.shape)}"
    assert torch.allclose(back[0, :, :2], 2 * torch.eye(2)), "the inverse of scale ½ is scale 2"
    assert torch.allclose(back[0, :, 2], torch.tensor([-0.4, 0.0])), (
        f"0.5 x + 0.2 = x' gives x = 2 x' − 0.4: the shift back is −0.4, not {back[0, 0, 2]:.1f}"
    )
    assert torch.allclose(inverse(turn), torch.tensor([[[0.0, 1.0, -0.4], [-1.0, 0.0, 0.0]]])), (
        f"(x, y) ↦ (−y, x + 0.4) is undone by (x, y) ↦ (y − 0.4, −x), not by {rounded(inverse(turn))}"
    )
    same = chain(zoom, inverse(zoom))
    assert torch.allclose(same, torch.eye(2, 3)[None]), "a warp, then its inverse, is the identity"
    both = chain(zoom, turn)
    assert torch.allclose(both, torch.tensor([[[0.0, -0.5, 0.2], [0.5, 0.0, 0.2]]])), (
        f"an output pixel asks `turn` first: (−y, x + 0.4), and there `zoom` reads at (−0.5 y + 0.2, 0.5 x + 0.2), not {rounded(both)}"
    )
    stack = torch.cat([zoom, turn])
    assert torch.allclose(inverse(stack)[1:], inverse(turn)), "each warp of a batch has its own inverse"
    assert torch.allclose(chain(stack, stack.flip(0))[:1], both), "each pair of a batch has its own chain"

# %% [markdown]
# ## task_07_5 · Repair a transformer
# difficulty 2/5 · importance 5/5 · 8 minutes
#
# This code runs and its shapes are right; but dark digits on white paper come out smaller and within a frame, and at the start most of them are lost.
# It is wrong in three ways.
#
# ```python
# class Transformer(nn.Module):
#     def __init__(self, features, size, background):
#         super().__init__()
#         self.size, self.background = size, background
#         self.last = nn.Linear(features, 6)
#
#     def forward(self, images):
#         theta = self.last(images.flatten(1)).view(-1, 2, 3)
#         grid = F.affine_grid(theta, [len(images), images.shape[1], *self.size], align_corners=True)
#         return F.grid_sample(images, grid)
# ```
#
# Repair it: it starts as the identity for every image; grid and sampler agree that −1 and 1 are the edges; and outside the image stands `background`, also where a border pixel is
# mixed with what lies beyond it. `F.affine_grid` and `F.grid_sample` are allowed.
#
# Shapes: `images` b c h w with features = c · h · w; result b c height width, of `size`; `background` a number.
#
# <details><summary>Hint 1: a frame of half brightness</summary>
#
# Look up what `align_corners` is when it is not given. Then ask where the output's corner pixel reads.
# </details>
#
# <details><summary>Hint 2: outside</summary>
#
# The sampler knows only zero. For which images would zero be the right background?
# </details>
#
# <details><summary>Hint 3: the start</summary>
#
# Weight zero makes θ equal to the bias, whatever the image. Which six numbers are the identity?
# </details>


# %% tags=["task_07_5"]
class Transformer(nn.Module):
    """Warp each image as its own pixels say: b c h w -> b c height width."""

    def __init__(self, features, size, background):
        super().__init__()
        self.size, self.background = size, background
        self.last = nn.Linear(features, 6)
        ### BEGIN SOLUTION
        nn.init.zeros_(self.last.weight)
        self.last.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))
        ### END SOLUTION

    def forward(self, images):
        theta = self.last(images.flatten(1)).view(-1, 2, 3)
        ### BEGIN SOLUTION
        grid = F.affine_grid(theta, [len(images), images.shape[1], *self.size], align_corners=False)
        return F.grid_sample(images - self.background, grid, align_corners=False) + self.background
        ### END SOLUTION


# %% tags=["folded"]
def with_bias(numbers):
    """Your transformer of 4 × 4 images on a background of 0.8, with this θ for every image."""
    module = Transformer(16, [4, 4], 0.8)
    nn.init.zeros_(module.last.weight)
    module.last.bias.data.copy_(torch.tensor(numbers))
    return module


def check_start(images):
    """A fresh transformer is the identity for every image."""
    fresh = Transformer(16, [4, 4], 0.0)
    state = {name: tensor.tolist() for name, tensor in fresh.state_dict().items()}
    assert state["last.bias"] == [1, 0, 0, 0, 1, 0], (
        f"the bias must start as the identity (1, 0, 0, 0, 1, 0), not {state['last.bias']}"
    )
    assert not fresh.last.weight.any(), "the weight must start at zero, or every image starts with another warp"
    assert torch.allclose(fresh(images), images, atol=1e-5), (
        "θ is the identity, but the image changed: grid and sampler need the same align_corners"
    )


# %% tags=["check_07_5"]
with exercise.check(5):
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    kept = images.clone()
    check_start(images)
    out = with_bias([2.0, 0.0, 0.0, 0.0, 2.0, 0.0])(images)  # from twice as far away
    assert torch.allclose(out[:, :, 0, 0], torch.tensor(0.8)), (
        f"outside stands the background, 0.8, not {out[0, 0, 0, 0]:.2f}"
    )
    assert torch.equal(images, kept), "the caller's images were changed: write a − b, not a −= b"
    flat = with_bias([1.3, 0.2, 0.4, -0.1, 0.9, 0.3])(torch.full((1, 1, 4, 4), 0.8))
    assert torch.allclose(flat, torch.tensor(0.8)), (
        "an image of background only must stay so, without a frame, border pixels too"
    )
    edge = with_bias([1.0, 0.0, 0.25, 0.0, 1.0, 0.0])(images)  # half a pixel to the right
    expected = (images[..., -1] + 0.8) / 2
    assert torch.allclose(edge[..., -1], expected, atol=1e-5), (
        "half a pixel beyond the last column: half of that pixel and half of the background; edges are at ±1 (align_corners=False)"
    )
