"""Grades exercise 07 on sizes and values that the student has not seen, and names the mistakes people make."""

import math
from itertools import product

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_number, assert_same, number

# --- task 1: grid and sampler ---


def thetas(draw, batch):
    """Random warps near the identity, another for each image: b 2 3."""
    return torch.eye(2, 3, dtype=torch.float64) + 0.4 * draw.normal(batch, 2, 3)


def grid_by_loops(theta, height, width):
    grid = torch.empty(len(theta), height, width, 2, dtype=torch.float64)
    for b, i, j in product(range(len(theta)), range(height), range(width)):
        x, y = (2 * j + 1) / width - 1, (2 * i + 1) / height - 1
        grid[b, i, j] = theta[b, :, 0] * x + theta[b, :, 1] * y + theta[b, :, 2]
    return grid


def sample_by_loops(images, grid, outside=0.0):
    """Point by point: the four pixels around it, by nearness."""
    (b, c, h, w), (_, p, q, _) = images.shape, grid.shape
    out = torch.zeros(b, c, p, q, dtype=torch.float64)
    for k, i, j in product(range(b), range(p), range(q)):
        x, y = ((grid[k, i, j, 0].item() + 1) * w - 1) / 2, ((grid[k, i, j, 1].item() + 1) * h - 1) / 2
        for m, n in product((math.floor(x), math.floor(x) + 1), (math.floor(y), math.floor(y) + 1)):
            pixel = (
                images[k, :, n, m] if 0 <= n < h and 0 <= m < w else torch.full((c,), outside, dtype=torch.float64)
            )
            out[k, :, i, j] += pixel * (1 - abs(x - m)) * (1 - abs(y - n))
    return out


@task(
    "task_07_1",
    without=("grid_sample", "course_lib"),
    hint="Compare the grid with a loop over output pixels: middle (x, y), then θ, x before y.",
)
def test_grid_equals_the_loops(student, draw):
    height, width = draw.primes(2, high=7)
    theta = thetas(draw, 3)
    assert_same(student.affine_grid(theta, height, width), grid_by_loops(theta, height, width))


@task("task_07_1", hint="Compare the sampler with a loop over points: four pixels by nearness, zeros outside.")
def test_sampler_equals_the_loops(student, draw):
    c, h, w = draw.primes(3, high=7)
    images, grid = draw.normal(3, c, h, w), 2.6 * draw.uniform(3, 2, 4, 2) - 1.3
    assert_same(student.bilinear_sample(images, grid), sample_by_loops(images, grid))


@task("task_07_1", hint="A loss must reach both the images and the points through your sampler.")
def test_sampler_has_torchs_gradients(student, draw):
    c, h, w = draw.primes(3, high=7)
    images, grid = draw.normal(2, c, h, w).requires_grad_(), (2 * draw.uniform(2, 2, 3, 2) - 1).requires_grad_()
    factor = draw.normal(2, c, 2, 3)
    found = torch.autograd.grad((student.bilinear_sample(images, grid) * factor).sum(), (images, grid))
    reference = torch.autograd.grad((F.grid_sample(images, grid, align_corners=False) * factor).sum(), (images, grid))
    for yours, expected in zip(found, reference, strict=True):
        assert_same(yours, expected)


def _middles(size, dtype):
    return (2 * torch.arange(size, dtype=dtype) + 1) / size - 1


def _target(height, width, dtype, middles=_middles):
    y, x = torch.meshgrid(middles(height, dtype), middles(width, dtype), indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)  # height width 3


def _grid(theta, height, width, middles=_middles):
    return torch.einsum("pqj,bkj->bpqk", _target(height, width, theta.dtype, middles), theta)


def _read(images, x, y, weigh=lambda distance: (1 - distance).clamp(min=0)):
    h, w = images.shape[-2:]
    across = weigh((x[..., None] - torch.arange(w)).abs()).to(images)
    down = weigh((y[..., None] - torch.arange(h)).abs()).to(images)
    return torch.einsum("bchw,bpqh,bpqw->bcpq", images, down, across)


def _pixels(images, grid):
    h, w = images.shape[-2:]
    return ((grid[..., 0] + 1) * w - 1) / 2, ((grid[..., 1] + 1) * h - 1) / 2


@wrong("task_07_1")
def affine_grid__rows_first(theta, height, width):
    """The points are (y, x); the first number of a point is x, the column."""
    return _grid(theta, height, width).flip(-1)


@wrong("task_07_1")
def affine_grid__from_corner_to_corner(theta, height, width):
    """The outermost middles lie at −1 and 1; here −1 and 1 are the edges, and the middles half a pixel inside."""
    return _grid(theta, height, width, lambda size, dtype: torch.linspace(-1, 1, size, dtype=dtype))


@wrong("task_07_1")
def affine_grid__transposed(theta, height, width):
    """The matrix is transposed: the first row of θ gives x, the second y."""
    turned = torch.cat([theta[:, :, :2].mT, theta[:, :, 2:]], dim=2)
    return _grid(turned, height, width)


@wrong("task_07_1")
def affine_grid__y_varies_along_the_row(theta, height, width):
    """x must change from column to column, and y from row to row; they are exchanged before θ."""
    target = _target(height, width, theta.dtype)[..., [1, 0, 2]]
    return torch.einsum("pqj,bkj->bpqk", target, theta)


@wrong("task_07_1")
def affine_grid__without_the_shift(theta, height, width):
    """The third column of θ, the shift, is missing."""
    return _grid(theta * torch.tensor([1.0, 1.0, 0.0]).to(theta), height, width)


@wrong("task_07_1")
def bilinear_sample__nearest(images, grid):
    """This takes the nearest pixel; mixing the four around the point makes it smooth, and gives a gradient."""
    x, y = _pixels(images, grid)
    return _read(images, x.round(), y.round())


@wrong("task_07_1")
def bilinear_sample__repeats_the_border(images, grid):
    """Outside the image there are zeros, not the border pixels."""
    h, w = images.shape[-2:]
    x, y = _pixels(images, grid)
    return _read(images, x.clamp(0, w - 1), y.clamp(0, h - 1))


@wrong("task_07_1")
def bilinear_sample__from_corner_to_corner(images, grid):
    """−1 and 1 were taken for the middles of the outermost pixels; they are the edges."""
    h, w = images.shape[-2:]
    return _read(images, (grid[..., 0] + 1) * (w - 1) / 2, (grid[..., 1] + 1) * (h - 1) / 2)


@wrong("task_07_1")
def bilinear_sample__half_a_pixel_off(images, grid):
    """(x + 1) w / 2 counts from the edge; pixel 0 has its middle half a pixel further in."""
    x, y = _pixels(images, grid)
    return _read(images, x + 0.5, y + 0.5)


@wrong("task_07_1")
def bilinear_sample__rows_by_x(images, grid):
    """x chose the row and y the column; it is the other way round."""
    return _read(images, *_pixels(images, grid.flip(-1)))


@wrong("task_07_1")
def bilinear_sample__one_grid_for_all(images, grid):
    """All images are read at the points of the first."""
    return _read(images, *_pixels(images, grid[:1].expand_as(grid)))


@wrong("task_07_1")
def bilinear_sample__width_and_height_exchanged(images, grid):
    """x was scaled by the height and y by the width; the width belongs to x."""
    h, w = images.shape[-2:]
    return _read(images, ((grid[..., 0] + 1) * h - 1) / 2, ((grid[..., 1] + 1) * w - 1) / 2)


@wrong("task_07_1")
def bilinear_sample__weights_below_zero(images, grid):
    """1 − |x − m| is negative beyond one pixel, where the weight must be 0: clamp it."""
    return _read(images, *_pixels(images, grid), lambda distance: 1 - distance)


# --- task 2: the gradient by θ ---


@task(
    "task_07_2",
    without=("autograd", "backward", "course_lib"),
    hint="Compare with finite differences: change one of the six numbers a little, and watch the loss.",
)
def test_gradient_equals_finite_differences(student, draw):
    h, w, p = draw.primes(3, high=11)
    image, theta, upstream = draw.normal(h, w), 0.7 * thetas(draw, 1)[0], draw.normal(p, p + 1)
    expected = torch.empty(2, 3, dtype=torch.float64)
    for k, j in product(range(2), range(3)):
        step = torch.zeros(2, 3, dtype=torch.float64)
        step[k, j] = 1e-9  # so small that hardly ever a kink lies in between; linear pieces make it exact enough
        losses = [(_warp(image, theta + sign * step, upstream.shape) * upstream).sum() for sign in (1, -1)]
        expected[k, j] = (losses[0] - losses[1]) / 2e-9
    torch.testing.assert_close(student.theta_gradient(image, theta, upstream), expected, rtol=1e-3, atol=1e-3)


@task("task_07_2", hint="Compare with autograd in double precision; width and height are different.")
def test_gradient_equals_autograd(student, draw):
    h, w, p, q = draw.primes(4, high=11)
    image, theta, upstream = draw.normal(h, w), (0.7 * thetas(draw, 1)[0]).requires_grad_(), draw.normal(p, q)
    (_warp(image, theta, (p, q)) * upstream).sum().backward()
    assert_same(student.theta_gradient(image, theta.detach(), upstream), theta.grad)


@task("task_07_2", hint="Far outside the image the gradient is zero.")
def test_gradient_is_zero_outside(student, draw):
    h, w, p = draw.primes(3, high=11)
    far = torch.tensor([[0.5, 0.0, 4.0], [0.0, 0.5, 0.0]], dtype=torch.float64)
    assert_same(student.theta_gradient(draw.normal(h, w), far, draw.normal(p, p)), torch.zeros(2, 3).double())


def _warp(image, theta, size):
    grid = F.affine_grid(theta[None], [1, 1, *size], align_corners=False)
    return F.grid_sample(image[None, None], grid, align_corners=False)[0, 0]


def _gradient(image, theta, upstream, *, per_unit=None, sign=1.0, hat=None, factors=None):
    """The right answer, with one part replaced."""
    (h, w), (p, q) = image.shape, upstream.shape
    target = _target(p, q, theta.dtype)
    source = target @ theta.mT
    x, y = ((source + 1) * torch.tensor([w, h]).to(theta) - 1).unbind(-1)
    to_column, to_row = torch.arange(w) - x[..., None] / 2, torch.arange(h) - y[..., None] / 2
    across, down = (1 - to_column.abs()).clamp(min=0), (1 - to_row.abs()).clamp(min=0)
    slope_across, slope_down = sign * to_column.sign() * (across > 0), sign * to_row.sign() * (down > 0)
    hat = hat or (lambda triangle: triangle)
    per_x, per_y = per_unit or (w / 2, h / 2)
    by_x = torch.einsum("hw,pqh,pqw->pq", image, hat(down), slope_across) * per_x
    by_y = torch.einsum("hw,pqh,pqw->pq", image, slope_down, hat(across)) * per_y
    factors = target if factors is None else factors(target, source)
    return torch.einsum("kpq,pqj->kj", upstream * torch.stack([by_x, by_y]), factors)


@wrong("task_07_2")
def theta_gradient__per_pixel(image, theta, upstream):
    """This is the slope per pixel; one unit of x is w / 2 pixels, one unit of y h / 2."""
    return _gradient(image, theta, upstream, per_unit=(1, 1))


@wrong("task_07_2")
def theta_gradient__width_for_both(image, theta, upstream):
    """The width was used for y as well; one unit of y is h / 2 pixels."""
    return _gradient(image, theta, upstream, per_unit=(image.shape[1] / 2,) * 2)


@wrong("task_07_2")
def theta_gradient__left_minus_right(image, theta, upstream):
    """The sign is turned: a step to the right leads towards the right neighbour, so it is right minus left."""
    return _gradient(image, theta, upstream, sign=-1.0)


@wrong("task_07_2")
def theta_gradient__of_the_shift_only(image, theta, upstream):
    """Every column holds the gradient of the shift; θ₁₁ and θ₁₂ are multiplied by the output's x and y."""
    return _gradient(image, theta, upstream, factors=lambda target, source: torch.ones_like(target))


@wrong("task_07_2")
def theta_gradient__times_the_source(image, theta, upstream):
    """θ₁₁ is multiplied by the *output's* x in the grid, not by the place that is read."""
    return _gradient(
        image, theta, upstream, factors=lambda target, source: torch.cat([source, target[..., 2:]], dim=-1)
    )


@wrong("task_07_2")
def theta_gradient__rows_exchanged(image, theta, upstream):
    """The first row of θ moves x; its gradient and that of the second row are exchanged."""
    return _gradient(image, theta, upstream).flip(0)


@wrong("task_07_2")
def theta_gradient__other_axis_not_weighted(image, theta, upstream):
    """The slope across must be weighted by how near each row is; here both rows count fully."""
    return _gradient(image, theta, upstream, hat=lambda triangle: (triangle > 0).to(triangle))


@wrong("task_07_2")
def theta_gradient__upstream_forgotten(image, theta, upstream):
    """This is the gradient of the sum of all outputs; each output counts by its upstream gradient."""
    return _gradient(image, theta, torch.ones_like(upstream))


@wrong("task_07_2")
def theta_gradient__averaged(image, theta, upstream):
    """This is the mean over the outputs; each output adds its part, so sum."""
    return _gradient(image, theta, upstream / upstream.numel())


# --- task 3: which way ---


@task(
    "task_07_3",
    without=("course_lib",),
    hint="Ask the output at your column where it reads; it must be the column of the mark.",
)
def test_the_new_column_reads_the_old_one(student, draw):
    for _ in range(5):
        width, out_width = draw.primes(2)
        column, scale, shift = draw.number(0, width - 1), draw.number(0.3, 1.7), draw.number(-0.8, 0.8)
        found = number(student.new_column(column, width, out_width, scale, shift))
        reads = scale * ((2 * found + 1) / out_width - 1) + shift
        assert_number((reads + 1) * width / 2, column + 0.5)  # in pixels from the left edge


@task("task_07_3", hint="Warp a row with one bright pixel, by a whole number of pixels, and see where it lands.")
def test_the_mark_lands_there(student, draw):
    (width,) = draw.primes(1)
    column, pixels = int(draw.integers(0, width, 1)), int(draw.integers(-2, 3, 1))
    found = number(student.new_column(column, width, width, 1.0, 2 * pixels / width))
    assert_number(found + width, column - pixels + width)  # a sum far from zero, for answers in single precision


def _land(column, width, out_width, place):
    target = place((2 * column + 1) / width - 1)
    return ((target + 1) * out_width - 1) / 2


@wrong("task_07_3")
def new_column__forwards(column, width, out_width, scale, shift):
    """x ↦ a·x + t goes from output to input; the mark's place in the input is known, so solve for the output's."""
    return _land(column, width, out_width, lambda x: scale * x + shift)


@wrong("task_07_3")
def new_column__shift_added(column, width, out_width, scale, shift):
    """The shift moves the window; the content moves the other way: subtract it."""
    return _land(column, width, out_width, lambda x: (x + shift) / scale)


@wrong("task_07_3")
def new_column__shift_after_the_scale(column, width, out_width, scale, shift):
    """(x − t) / a: the shift is subtracted before dividing, since θ scales first and shifts then."""
    return _land(column, width, out_width, lambda x: x / scale - shift)


@wrong("task_07_3")
def new_column__scale_multiplied(column, width, out_width, scale, shift):
    """A scale below 1 zooms in: the content gets larger, so divide by the scale."""
    return _land(column, width, out_width, lambda x: (x - shift) * scale)


@wrong("task_07_3")
def new_column__same_width(column, width, out_width, scale, shift):
    """The output has its own number of pixels; from x back to a column, use the output's width."""
    return _land(column, width, width, lambda x: (x - shift) / scale)


@wrong("task_07_3")
def new_column__from_corner_to_corner(column, width, out_width, scale, shift):
    """−1 and 1 were taken for the middles of the outermost pixels (align_corners=True); they are the edges."""
    return (((2 * column / (width - 1) - 1 - shift) / scale) + 1) * (out_width - 1) / 2


@wrong("task_07_3")
def new_column__half_pixel_forgotten(column, width, out_width, scale, shift):
    """Column p has its middle at (2p + 1)/w − 1; the half pixel is missing."""
    return ((2 * column / width - 1 - shift) / scale + 1) * out_width / 2


# --- task 4: back, and one after the other ---


def apply(theta, points):
    """The points, moved: b 2 3, b n 2 -> b n 2."""
    return torch.stack(
        [(theta[:, :, :2] * point[:, None, :]).sum(-1) + theta[:, :, 2] for point in points.unbind(1)], 1
    )


@task(
    "task_07_4",
    without=("course_lib",),
    hint="Send points through a warp and then through your inverse: they come back.",
)
def test_inverse_brings_points_back(student, draw):
    theta, points = thetas(draw, 5), draw.normal(5, 7, 2)
    theta[:, :, :2] += torch.eye(2, dtype=torch.float64)  # far from singular
    torch.testing.assert_close(apply(student.inverse(theta), apply(theta, points)), points, rtol=1e-7, atol=1e-7)


@task("task_07_4", hint="Send points through second, then through first: your chain must do both at once.")
def test_chain_asks_second_then_first(student, draw):
    first, second, points = thetas(draw, 5), thetas(draw, 5), draw.normal(5, 7, 2)
    assert_same(apply(student.chain(first, second), points), apply(first, apply(second, points)))


def _join(linear, shift):
    return torch.cat([linear, shift], dim=2)


@wrong("task_07_4")
def inverse__shift_negated(theta):
    """The shift back is −A⁻¹ t; −t is right only when A is the identity."""
    return _join(torch.linalg.inv(theta[:, :, :2]), -theta[:, :, 2:])


@wrong("task_07_4")
def inverse__shift_not_negated(theta):
    """The shift goes back the other way: −A⁻¹ t."""
    back = torch.linalg.inv(theta[:, :, :2])
    return _join(back, back @ theta[:, :, 2:])


@wrong("task_07_4")
def inverse__transposed(theta):
    """The transpose is the inverse of a pure rotation only; this one does not undo a scale."""
    back = theta[:, :, :2].mT
    return _join(back, -back @ theta[:, :, 2:])


@wrong("task_07_4")
def inverse__numbers_inverted(theta):
    """Each number was inverted by itself; a matrix needs the matrix inverse."""
    back = torch.where(theta[:, :, :2] == 0, 0.0, 1 / theta[:, :, :2])
    return _join(back, -back @ theta[:, :, 2:])


@wrong("task_07_4")
def inverse__of_the_first(theta):
    """Every warp of the batch got the inverse of the first."""
    back = torch.linalg.inv(theta[:1, :, :2])
    return _join(back, -back @ theta[:1, :, 2:]).expand_as(theta)


@wrong("task_07_4")
def inverse__with_the_warps_own_matrix(theta):
    """The shift was multiplied by A instead of by its inverse."""
    return _join(torch.linalg.inv(theta[:, :, :2]), -theta[:, :, :2] @ theta[:, :, 2:])


@wrong("task_07_4")
def chain__other_order(first, second):
    """An output pixel asks second, and what second names was read by first: the matrices are in the wrong order."""
    return _join(second[:, :, :2] @ first[:, :, :2], second[:, :, :2] @ first[:, :, 2:] + second[:, :, 2:])


@wrong("task_07_4")
def chain__shifts_added(first, second):
    """The shift of second passes through the matrix of first; the shifts cannot just be added."""
    return _join(first[:, :, :2] @ second[:, :, :2], first[:, :, 2:] + second[:, :, 2:])


# --- task 5: repair a transformer ---


def repaired(student, draw):
    """Your module with a random last layer, its state, images, its size and background."""
    c, h, w, p, q = draw.primes(5, high=13)
    background = draw.number(0.3, 0.9)
    module = student.Transformer(c * h * w, [p, q], background).double()
    bias = thetas(draw, 1).flatten()
    state = {"last.weight": 0.3 * draw.normal(6, c * h * w) / math.sqrt(c * h * w), "last.bias": bias}
    module.load_state_dict(state)
    return module, state, draw.normal(2, c, h, w), (p, q), background


@task(
    "task_07_5",
    without=("course_lib",),
    hint="A fresh transformer hands on every image as it is, whatever its values.",
)
def test_it_starts_as_the_identity(student, draw):
    c, h, w = draw.primes(3, high=11)
    images = 5 * draw.normal(3, c, h, w)
    assert_same(student.Transformer(c * h * w, [h, w], draw.number(0.3, 0.9)).double()(images), images)


@task("task_07_5", hint="Compare with loops: edges at ±1 for grid and sampler, the background outside.")
def test_it_equals_the_loops(student, draw):
    module, state, images, size, background = repaired(student, draw)
    theta = (images.flatten(1) @ state["last.weight"].mT + state["last.bias"]).view(-1, 2, 3)
    assert_same(module(images), sample_by_loops(images, grid_by_loops(theta, *size), background))


@task("task_07_5", hint="An image that is background only stays background only, whatever θ is.")
def test_background_stays_background(student, draw):
    module, _, images, size, background = repaired(student, draw)
    flat = torch.full_like(images, background)
    assert_same(module(flat), torch.full((*images.shape[:2], *size), background, dtype=torch.float64))


class _Transformer(nn.Module):
    """The right answer in small steps, each of which a wrong answer changes."""

    corners = (False, False)  # of grid and sampler

    def __init__(self, features, size, background):
        super().__init__()
        self.size, self.background = size, background
        self.last = nn.Linear(features, 6)
        self.start()

    def start(self):
        nn.init.zeros_(self.last.weight)
        self.last.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def read(self, images, grid):
        b = self.background
        return F.grid_sample(images - b, grid, align_corners=self.corners[1]) + b

    def forward(self, images):
        theta = self.last(images.flatten(1)).view(-1, 2, 3)
        grid = F.affine_grid(theta, [len(images), 1, *self.size], align_corners=self.corners[0])
        return self.read(images, grid)


@wrong("task_07_5")
class Transformer__random_start(_Transformer):
    """The last layer starts at random, so most windows miss the digit before anything is learned."""

    def start(self):
        pass


@wrong("task_07_5")
class Transformer__random_weight(_Transformer):
    """The bias is the identity, but the weight is random: every image starts with another warp."""

    def start(self):
        self.last.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))


@wrong("task_07_5")
class Transformer__starts_at_zero(_Transformer):
    """With a bias of zero every output pixel reads the same point, the middle; start as the identity."""

    def start(self):
        nn.init.zeros_(self.last.weight), nn.init.zeros_(self.last.bias)


@wrong("task_07_5")
class Transformer__mixed_corners(_Transformer):
    """Grid and sampler still use different conventions: the picture shrinks, and a frame appears."""

    corners = (True, False)


@wrong("task_07_5")
class Transformer__corner_to_corner(_Transformer):
    """Grid and sampler agree now, but on the middles of the corner pixels; here −1 and 1 are the edges."""

    corners = (True, True)


@wrong("task_07_5")
class Transformer__zeros_outside(_Transformer):
    """Outside stand zeros, not the background: a frame that moves with θ."""

    def read(self, images, grid):
        return F.grid_sample(images, grid, align_corners=False)


@wrong("task_07_5")
class Transformer__repeats_the_border(_Transformer):
    """The border pixels are repeated outside; a stroke at the border becomes a streak. The background is a number."""

    def read(self, images, grid):
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@wrong("task_07_5")
class Transformer__zeros_replaced(_Transformer):
    """Zeros were replaced afterwards: a border pixel is still mixed with zero, and a true zero is lost."""

    def read(self, images, grid):
        seen = F.grid_sample(images, grid, align_corners=False)
        return torch.where(seen == 0, self.background, seen)


@wrong("task_07_5")
class Transformer__background_added_only(_Transformer):
    """The background was added without being subtracted first: everything inside is too bright."""

    def read(self, images, grid):
        return F.grid_sample(images, grid, align_corners=False) + self.background
