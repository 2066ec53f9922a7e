"""Grades exercise 03 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_same, number


def gates_by_loop(image, w_squeeze, w_excite):
    """The gate of every channel of one image, number by number: c h w -> list of c."""
    z = [sum(channel.flatten().tolist()) / channel.numel() for channel in image]
    hidden = [max(0.0, sum(w * m for w, m in zip(row, z, strict=True))) for row in w_squeeze.tolist()]
    logits = [sum(w * u for w, u in zip(row, hidden, strict=True)) for row in w_excite.tolist()]
    return [1 / (1 + math.exp(-logit)) for logit in logits]


def output_by_loop(x, w_squeeze, w_excite):
    """The block, image by image: b c h w -> b c h w."""
    gates = torch.tensor([gates_by_loop(image, w_squeeze, w_excite) for image in x], dtype=x.dtype)
    return x * gates[:, :, None, None]


def filled(build, channels, hidden, draw):
    """A block of the student with drawn weights, and these weights: k c and c k."""
    block = build(channels, channels // hidden).double()
    w_squeeze, w_excite = draw.normal(hidden, channels), draw.normal(channels, hidden)
    block.load_state_dict({"squeeze.weight": w_squeeze, "excite.weight": w_excite})
    return block, w_squeeze, w_excite


def sizes(draw):
    """b, h, w; then hidden units k and channels c = 3k, so that the reduction is 3."""
    b, h, w, hidden = draw.primes(4, high=13)
    return b, h, w, hidden, 3 * hidden


# --- task 1: the block ---


def film(draw):
    """A block of the student for some frames, its weights, and films b t c h w."""
    b, c, h, w = draw.primes(4, high=11)
    frames, hidden = 6, 2
    return frames, hidden, draw.normal(b, frames, c, h, w) + draw.normal(b, frames, 1, 1, 1)


@task(
    "task_03_1",
    without=("course_lib",),
    hint="Compare with a loop: average each frame of each film, two layers, sigmoid, multiply.",
)
def test_block_equals_the_loop(student, draw):
    frames, hidden, x = film(draw)
    block, w_squeeze, w_excite = filled(student.FrameExcitation, frames, hidden, draw)
    gates = [gates_by_loop(one, w_squeeze, w_excite) for one in x]
    assert_same(block(x), x * torch.tensor(gates, dtype=x.dtype)[:, :, None, None, None])


@task("task_03_1", hint="Films of one batch must not change each other's gates.")
def test_films_do_not_mix(student, draw):
    frames, hidden, x = film(draw)
    block, *_ = filled(student.FrameExcitation, frames, hidden, draw)
    assert_same(block(x[1:2]), block(x)[1:2])


@task("task_03_1", hint="Only the average of a frame counts: shuffling its pixels and channels leaves its gate.")
def test_gates_see_only_averages(student, draw):
    frames, hidden, x = film(draw)
    block, *_ = filled(student.FrameExcitation, frames, hidden, draw)
    order = draw.uniform(x[0, 0].numel()).argsort()
    shuffled = x.flatten(2)[:, :, order].view_as(x)
    assert_same(block(shuffled), block(x).flatten(2)[:, :, order].view_as(x))


class _SE(nn.Module):
    """The right block in small steps, each of which a wrong answer changes."""

    def __init__(self, channels, reduction=16):
        super().__init__()
        self.make(channels, reduction)

    def make(self, channels, reduction):
        if channels < reduction:
            raise ValueError(f"channels={channels} leaves no hidden unit at reduction={reduction}")
        self.layers(channels, channels // reduction)

    def layers(self, channels, hidden):
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def describe(self, x):
        return x.mean(dim=(2, 3))

    def gate(self, z):
        return self.excite(self.squeeze(z).relu()).sigmoid()

    def scale(self, x, s):
        return x * s[:, :, None, None]

    def forward(self, x):
        return self.scale(x, self.gate(self.describe(x)))


class _Frames(_SE):
    """The same with frames for channels."""

    def describe(self, x):
        return x.mean(dim=(2, 3, 4))

    def scale(self, x, s):
        return x * s[:, :, None, None, None]


@wrong("task_03_1")
class FrameExcitation__one_channel_of_a_frame(_Frames):
    """A frame is described by its first channel; all its channels count."""

    def describe(self, x):
        return x[:, :, 0].mean(dim=(2, 3))


@wrong("task_03_1")
class FrameExcitation__softmax_gates(_Frames):
    """A softmax makes the frames compete, the gates sum to 1; SE's gates are sigmoids, each by itself."""

    def gate(self, z):
        return self.excite(self.squeeze(z).relu()).softmax(dim=1)


@wrong("task_03_1")
class FrameExcitation__no_relu(_Frames):
    """Without the ReLU between them the two layers are one linear layer."""

    def gate(self, z):
        return self.excite(self.squeeze(z)).sigmoid()


@wrong("task_03_1")
class FrameExcitation__activations_exchanged(_Frames):
    """The ReLU belongs between the layers and the sigmoid at the end; they are exchanged."""

    def gate(self, z):
        return self.excite(self.squeeze(z).sigmoid()).relu()


@wrong("task_03_1")
class FrameExcitation__largest_instead_of_average(_Frames):
    """The squeeze takes the largest value of a frame; SE takes the average."""

    def describe(self, x):
        return x.amax(dim=(2, 3, 4))


@wrong("task_03_1")
class FrameExcitation__sum_instead_of_average(_Frames):
    """The squeeze adds the values up, so a larger film would get larger logits; divide by the number of positions."""

    def describe(self, x):
        return x.sum(dim=(2, 3, 4))


@wrong("task_03_1")
class FrameExcitation__averaged_over_the_batch(_Frames):
    """The averages run over the batch as well, so each film changes the gates of the others."""

    def describe(self, x):
        return x.mean(dim=(0, 2, 3, 4)).expand(len(x), -1)


@wrong("task_03_1")
class FrameExcitation__shortcut_inside(_Frames):
    """x is added to the scaled x; the shortcut belongs to the residual block, not to SE."""

    def scale(self, x, s):
        return x + x * s[:, :, None, None, None]


@wrong("task_03_1")
class FrameExcitation__gates_added(_Frames):
    """The gates are added to the frames; they must scale them."""

    def scale(self, x, s):
        return x + s[:, :, None, None, None]


# --- task 2: what it adds to a network ---


@task("task_03_2", without=("course_lib",), hint="Each block adds two matrices of ⌊c/r⌋ · c numbers.")
def test_count_without_biases(student, draw):
    stages = [(int(draw.integers(1, 9)), int(draw.integers(32, 600))) for _ in range(3)]
    for reduction in draw.primes(3):
        expected = sum(
            F.one_hot(torch.zeros(n * (c // reduction) * c, dtype=int)).sum().item() * 2 for n, c in stages
        )
        assert number(student.added_parameters(stages, reduction)) == expected


@task("task_03_2", hint="With biases, each block adds ⌊c/r⌋ for the first layer and c for the second.")
def test_count_with_biases(student, draw):
    stages = [(int(draw.integers(1, 5)), int(draw.integers(32, 200))) for _ in range(3)]
    reduction = draw.primes(1)[0]
    layers = [(nn.Linear(c, c // reduction), nn.Linear(c // reduction, c)) for n, c in stages for _ in range(n)]
    expected = sum(p.numel() for pair in layers for layer in pair for p in layer.parameters())
    assert number(student.added_parameters(stages, reduction, bias=True)) == expected


@task("task_03_2", hint="ResNet-50 at r = 16: 2 514 944 without biases.")
def test_resnet_50(student, draw):
    assert number(student.added_parameters([(3, 256), (4, 512), (6, 1024), (3, 2048)])) == 2_514_944


@wrong("task_03_2")
def added_parameters__one_block_a_stage(stages, reduction=16, bias=False):
    """Each stage is counted once; every residual block of the stage has an SE block of its own."""
    return sum(2 * c * (c // reduction) + bias * (c // reduction + c) for _, c in stages)


@wrong("task_03_2")
def added_parameters__one_matrix(stages, reduction=16, bias=False):
    """Only one of the two matrices is counted."""
    return sum(n * (c * (c // reduction) + bias * (c // reduction + c)) for n, c in stages)


@wrong("task_03_2")
def added_parameters__biases_once_a_stage(stages, reduction=16, bias=False):
    """The biases are counted once for each stage; every block has its own."""
    return sum(n * 2 * c * (c // reduction) + bias * (c // reduction + c) for n, c in stages)


@wrong("task_03_2")
def added_parameters__hidden_biases_forgotten(stages, reduction=16, bias=False):
    """The biases of the first layer, one for each hidden unit, are forgotten."""
    return sum(n * (2 * c * (c // reduction) + bias * c) for n, c in stages)


@wrong("task_03_2")
def added_parameters__rounded_too_late(stages, reduction=16, bias=False):
    """2c²/r is divided at the end; a layer has ⌊c/r⌋ whole units, so divide first."""
    return sum(n * (2 * c * c // reduction + bias * (c // reduction + c)) for n, c in stages)


@wrong("task_03_2")
def added_parameters__width_inside_the_bottleneck(stages, reduction=16, bias=False):
    """SE stands on the output of the residual block, with all its channels, not inside, where there are a quarter."""
    return sum(n * (2 * (c // 4) * (c // 4 // reduction) + bias * (c // 4)) for n, c in stages)


@wrong("task_03_2")
def added_parameters__biases_always(stages, reduction=16, bias=False):
    """Biases are counted even where there are none."""
    return sum(n * (2 * c * (c // reduction) + c // reduction + c) for n, c in stages)


@wrong("task_03_2")
def added_parameters__reduction_ignored(stages, reduction=16, bias=False):
    """The reduction is an argument; here it is always 16."""
    return sum(n * (2 * c * (c // 16) + bias * (c // 16 + c)) for n, c in stages)


# --- task 3: the gradient through the gates ---


def gradient_problem(draw):
    """x, W₁, W₂, G; the first hidden unit is open and the second closed."""
    h, w, c, k = draw.primes(4, high=11)
    x = draw.normal(c, h, w) + draw.normal(c, 1, 1)
    w_squeeze, w_excite = draw.normal(k, c), draw.normal(c, k) / math.sqrt(k)
    first = w_squeeze @ x.mean(dim=(1, 2))
    w_squeeze[0], w_squeeze[1] = w_squeeze[0] * first[0].sign(), -w_squeeze[1] * first[1].sign()
    return x, w_squeeze, w_excite, draw.normal(c, h, w)


def gradient_by_autograd(x, w_squeeze, w_excite, upstream):
    leaf = x.clone().requires_grad_()
    gates = torch.sigmoid(w_excite @ torch.relu(w_squeeze @ leaf.flatten(1).mean(1)))
    return torch.autograd.grad((leaf * gates[:, None, None] * upstream).sum(), leaf)[0]


@task(
    "task_03_3",
    without=("autograd", "backward", "course_lib"),
    hint="Compare with autograd on a block of your own: two paths, through x and through the gates.",
)
def test_gradient_equals_autograd(student, draw):
    problem = gradient_problem(draw)
    assert_same(student.input_gradient(*problem), gradient_by_autograd(*problem))


@task("task_03_3", hint="A small step in any one number of x must change the loss by gradient times step.")
def test_gradient_equals_finite_differences(student, draw):
    x, w_squeeze, w_excite, upstream = gradient_problem(draw)

    def loss(image):
        return (output_by_loop(image[None], w_squeeze, w_excite)[0] * upstream).sum()

    step = 1e-5 * draw.normal(*x.shape)
    change = loss(x + step / 2) - loss(x - step / 2)
    predicted = (student.input_gradient(x, w_squeeze, w_excite, upstream) * step).sum()
    torch.testing.assert_close(predicted, change, rtol=1e-5, atol=1e-9)


@task("task_03_3", hint="Twice the upstream gradient gives twice the gradient, and zero gives zero.")
def test_gradient_is_linear_in_upstream(student, draw):
    x, w_squeeze, w_excite, upstream = gradient_problem(draw)
    once = student.input_gradient(x, w_squeeze, w_excite, upstream)
    assert_same(student.input_gradient(x, w_squeeze, w_excite, -2 * upstream), -2 * once)
    expected = gradient_by_autograd(x, w_squeeze, w_excite, upstream)
    assert_same(once.sum(dim=(1, 2)), expected.sum(dim=(1, 2)))


def parts_of_gradient(x, w_squeeze, w_excite):
    u = w_squeeze @ x.mean(dim=(1, 2))
    return u, (w_excite @ u.relu()).sigmoid()


@wrong("task_03_3")
def input_gradient__first_path_only(x, w_squeeze, w_excite, upstream):
    """The gates are treated as constants; they depend on x, too."""
    return parts_of_gradient(x, w_squeeze, w_excite)[1][:, None, None] * upstream


@wrong("task_03_3")
def input_gradient__average_forgotten(x, w_squeeze, w_excite, upstream):
    """The average hands 1/(HW) of its gradient to each position; this factor is missing."""
    u, s = parts_of_gradient(x, w_squeeze, w_excite)
    a = s * (1 - s) * (upstream * x).sum(dim=(1, 2))
    d = w_squeeze.mT @ ((u > 0) * (w_excite.mT @ a))
    return s[:, None, None] * upstream + d[:, None, None]


@wrong("task_03_3")
def input_gradient__relu_forgotten(x, w_squeeze, w_excite, upstream):
    """Hidden units that the ReLU had closed pass no gradient."""
    _, s = parts_of_gradient(x, w_squeeze, w_excite)
    a = s * (1 - s) * (upstream * x).sum(dim=(1, 2))
    return s[:, None, None] * upstream + (w_squeeze.mT @ (w_excite.mT @ a))[:, None, None] / x[0].numel()


@wrong("task_03_3")
def input_gradient__sigmoid_forgotten(x, w_squeeze, w_excite, upstream):
    """The derivative of the sigmoid, s (1 − s), is missing."""
    u, s = parts_of_gradient(x, w_squeeze, w_excite)
    d = w_squeeze.mT @ ((u > 0) * (w_excite.mT @ (upstream * x).sum(dim=(1, 2))))
    return s[:, None, None] * upstream + d[:, None, None] / x[0].numel()


@wrong("task_03_3")
def input_gradient__x_forgotten(x, w_squeeze, w_excite, upstream):
    """∂L/∂s is the sum of G times x; here only G is summed."""
    u, s = parts_of_gradient(x, w_squeeze, w_excite)
    a = s * (1 - s) * upstream.sum(dim=(1, 2))
    d = w_squeeze.mT @ ((u > 0) * (w_excite.mT @ a))
    return s[:, None, None] * upstream + d[:, None, None] / x[0].numel()


@wrong("task_03_3")
def input_gradient__averaged_twice(x, w_squeeze, w_excite, upstream):
    """∂L/∂s is a sum over positions; averaging there as well divides by HW twice."""
    u, s = parts_of_gradient(x, w_squeeze, w_excite)
    a = s * (1 - s) * (upstream * x).mean(dim=(1, 2))
    d = w_squeeze.mT @ ((u > 0) * (w_excite.mT @ a))
    return s[:, None, None] * upstream + d[:, None, None] / x[0].numel()


@wrong("task_03_3")
def input_gradient__gate_path_only(x, w_squeeze, w_excite, upstream):
    """The direct path s·G is missing: the input is scaled, too."""
    u, s = parts_of_gradient(x, w_squeeze, w_excite)
    a = s * (1 - s) * (upstream * x).sum(dim=(1, 2))
    d = w_squeeze.mT @ ((u > 0) * (w_excite.mT @ a))
    return (d[:, None, None] / x[0].numel()).expand_as(x)


# --- task 4: gather-excite without parameters ---


def gather_excite_by_loop(x, extent):
    """Windows of 2e − 1 pixels cut at the border; each pixel takes the gate of the cell that it falls into."""
    b, c, h, w = x.shape
    rows, columns = math.ceil(h / extent), math.ceil(w / extent)
    cells = torch.empty(b, c, rows, columns, dtype=x.dtype)
    for i in range(rows):
        for j in range(columns):
            top, left = max(0, extent * (i - 1) + 1), max(0, extent * (j - 1) + 1)
            cells[:, :, i, j] = x[:, :, top : extent * (i + 1), left : extent * (j + 1)].flatten(2).mean(dim=2)
    down, right = torch.arange(h) * rows // h, torch.arange(w) * columns // w
    return x * torch.sigmoid(cells[:, :, down][:, :, :, right])


@task(
    "task_03_4",
    without=("course_lib",),
    hint="Extent 0: each channel times the sigmoid of its own average over the whole map.",
)
def test_global_equals_the_loop(student, draw):
    b, c, h, w = draw.primes(4, high=13)
    x = draw.normal(b, c, h, w) + draw.normal(b, c, 1, 1)
    expected = torch.stack([torch.stack([m / (1 + math.exp(-m.mean())) for m in image]) for image in x])
    assert_same(student.gather_excite(x, 0), expected)


@task("task_03_4", hint="Compare with windows of 2e − 1 pixels cut off at the border, centred on every e-th pixel.")
def test_local_equals_the_loop(student, draw):
    b, c, h, w = draw.primes(4, high=17)
    x = draw.normal(b, c, h, w) + draw.normal(b, c, 1, 1)
    for extent in (2, 3, 4, 8):
        assert_same(student.gather_excite(x, extent), gather_excite_by_loop(x, extent))


@task("task_03_4", hint="A constant map has constant gates, at the border, too.")
def test_constant_stays_constant(student, draw):
    c, h, w = draw.primes(3)
    value = draw.normal(1, c, 1, 1) + 3
    for extent in (0, 2, 4):
        result = student.gather_excite(value.expand(2, c, h, w), extent)
        assert_same(result, (value * value.sigmoid()).expand(2, c, h, w))


def _gather(x, extent, *, pool=None, mode="nearest", **options):
    """The right answer with one thing changed."""
    if extent == 0:
        return x.mean(dim=(2, 3), keepdim=True).sigmoid()
    options = {"kernel_size": 2 * extent - 1, "padding": extent - 1, "count_include_pad": False} | options
    cells = (pool or F.avg_pool2d)(x, stride=extent, **options).sigmoid()
    return F.interpolate(cells, size=x.shape[2:], mode=mode)


@wrong("task_03_4")
def gather_excite__padding_counted(x, extent):
    """The padding counts as zeros, so the gates at the border lie nearer to one half; leave it out."""
    return x * _gather(x, extent, count_include_pad=True)


@wrong("task_03_4")
def gather_excite__windows_of_e_pixels(x, extent):
    """The windows are e pixels wide and do not overlap; they are 2e − 1 wide and do."""
    return x * _gather(x, extent, kernel_size=max(extent, 1), padding=0, ceil_mode=True)


@wrong("task_03_4")
def gather_excite__blended_between_cells(x, extent):
    """The gates are interpolated bilinearly; each pixel takes the gate of the nearest cell as it is."""
    return x * _gather(x, extent, mode="bilinear" if extent else "nearest")


@wrong("task_03_4")
def gather_excite__cells_of_e_pixels(x, extent):
    """Each gate is repeated for e pixels and the rest cut off; with size=(h, w) the cells share the pixels evenly."""
    if extent == 0:
        return x * _gather(x, 0)
    h, w = x.shape[2:]
    cells = F.avg_pool2d(x, 2 * extent - 1, extent, extent - 1, count_include_pad=False).sigmoid()
    return x * F.interpolate(cells, scale_factor=extent)[..., :h, :w]


@wrong("task_03_4")
def gather_excite__averages_without_sigmoid(x, extent):
    """The averages themselves scale the map; the gate is their sigmoid."""
    return x * _gather(x, extent).logit()


@wrong("task_03_4")
def gather_excite__sigmoids_averaged(x, extent):
    """The sigmoids of the pixels are averaged; the gate is the sigmoid of the average."""
    return x * _gather(x.sigmoid(), extent).logit()


@wrong("task_03_4")
def gather_excite__gates_instead_of_features(x, extent):
    """This returns the gates; the result is x times the gates."""
    return _gather(x, extent).expand_as(x)


@wrong("task_03_4")
def gather_excite__largest_of_the_window(x, extent):
    """The largest value of each window is gathered; θ⁻ gathers the average."""
    if extent == 0:
        return x * x.amax(dim=(2, 3), keepdim=True).sigmoid()
    cells = F.max_pool2d(x, 2 * extent - 1, stride=extent, padding=extent - 1)
    return x * F.interpolate(cells.sigmoid(), size=x.shape[2:])


@wrong("task_03_4")
def gather_excite__channels_share_a_gate(x, extent):
    """All channels share one gate; in Gather-Excite each channel is gated by itself."""
    return x * _gather(x.mean(dim=1, keepdim=True), extent)


@wrong("task_03_4")
def gather_excite__always_global(x, extent):
    """The extent is ignored: the whole map is gathered every time."""
    return x * _gather(x, 0)


# --- task 5: repair a block that sees its neighbours ---


@task(
    "task_03_5",
    without=("course_lib",),
    hint="Compare with a loop over images: each has its own averages and its own gates.",
)
def test_repaired_equals_the_loop(student, draw):
    b, h, w, hidden, c = sizes(draw)
    block, w_squeeze, w_excite = filled(student.RepairedSE, c, hidden, draw)
    x = draw.normal(b, c, h, w) + draw.normal(b, c, 1, 1)
    assert_same(block(x), output_by_loop(x, w_squeeze, w_excite))


@task(
    "task_03_5",
    hint="Change one image of the batch: the others must stay as they are, in training mode and in eval mode.",
)
def test_one_image_leaves_the_others_alone(student, draw):
    b, h, w, hidden, c = sizes(draw)
    block, *_ = filled(student.RepairedSE, c, hidden, draw)
    x = draw.normal(b, c, h, w) + draw.normal(b, c, 1, 1)
    changed = x.clone()
    changed[0] = 3 * draw.normal(c, h, w) + 1
    for mode in (True, False):
        block.train(mode)
        assert_same(block(changed)[1:], block(x)[1:])


@task("task_03_5", hint="The gradient must reach x through the gates, and each image only from its own loss.")
def test_gradient_equals_autograd_of_each_image(student, draw):
    b, h, w, hidden, c = sizes(draw)
    block, w_squeeze, w_excite = filled(student.RepairedSE, c, hidden, draw)
    x, upstream = draw.normal(b, c, h, w).requires_grad_(), draw.normal(b, c, h, w)
    (block(x) * upstream).sum().backward()
    expected = [gradient_by_autograd(i.detach(), w_squeeze, w_excite, g) for i, g in zip(x, upstream, strict=True)]
    assert_same(x.grad, torch.stack(expected))


def too_few(draw):
    """Channels, and a reduction that leaves no hidden unit."""
    channels = draw.primes(1)[0]
    return channels, channels + int(draw.integers(1, 9))


@task("task_03_5", hint="Where channels // reduction is 0, the block must not be built: raise a ValueError.")
def test_no_hidden_unit_is_an_error(student, draw):
    try:
        student.RepairedSE(*too_few(draw))
    except ValueError:
        return
    raise AssertionError("no ValueError")


@task("task_03_5", hint="The words of the error name both numbers, the channels and the reduction.")
def test_error_names_both_numbers(student, draw):
    numbers = too_few(draw)
    try:
        student.RepairedSE(*numbers)
    except Exception as error:
        assert all(str(number) in str(error) for number in numbers)


@task("task_03_5", hint="Without a reduction it is 16: 16 channels have one hidden unit, 33 have two, 15 have none.")
def test_the_reduction_is_sixteen_by_default(student, draw):
    channels = 16 * int(draw.integers(1, 5)) + int(draw.integers(0, 16))
    shapes = [tuple(weight.shape) for weight in student.RepairedSE(channels).parameters()]
    assert shapes == [(channels // 16, channels), (channels, channels // 16)]
    student.RepairedSE(16)
    try:
        student.RepairedSE(15)
    except ValueError as error:
        assert "15" in str(error) and "16" in str(error)
        return
    raise AssertionError("no ValueError")


@task("task_03_5", hint="One hidden unit is enough; the layers are called squeeze and excite and have no biases.")
def test_one_hidden_unit_is_enough(student, draw):
    channels = draw.primes(1)[0]
    assert [*student.RepairedSE(channels, channels).state_dict()] == ["squeeze.weight", "excite.weight"]


@wrong("task_03_5")
class RepairedSE__still_over_the_batch(_SE):
    """The averages still run over the batch; giving them the right shape afterwards does not part the images."""

    def describe(self, x):
        return x.mean(dim=(0, 2, 3), keepdim=True).flatten(1).expand(len(x), -1)


@wrong("task_03_5")
class RepairedSE__over_the_batch_in_training(_SE):
    """In eval mode the images are apart, but in training they still mix; SE knows no such difference."""

    def describe(self, x):
        return x.mean(dim=(0, 2, 3)).expand(len(x), -1) if self.training else x.mean(dim=(2, 3))


@wrong("task_03_5")
class RepairedSE__gates_of_the_first_image(_SE):
    """Every image gets the gates of the first one."""

    def describe(self, x):
        return x[:1].mean(dim=(2, 3)).expand(len(x), -1)


@wrong("task_03_5")
class RepairedSE__positions_summed(_SE):
    """Images are apart now, but the positions are added up instead of averaged."""

    def describe(self, x):
        return x.sum(dim=(2, 3))


@wrong("task_03_5")
class RepairedSE__gates_cut_off(_SE):
    """The numbers are right, but no gradient passes through the gates: nothing of the block is trained."""

    def gate(self, z):
        return super().gate(z).detach()


@wrong("task_03_5")
class RepairedSE__still_no_hidden_unit(_SE):
    """A block without hidden units is still built, and still says nothing."""

    def make(self, channels, reduction):
        hidden = channels // reduction
        w_squeeze, w_excite = torch.zeros(hidden, channels), torch.zeros(channels, hidden)
        self.squeeze, self.excite = nn.Linear(channels, 1, bias=False), nn.Linear(1, channels, bias=False)
        self.squeeze.weight, self.excite.weight = nn.Parameter(w_squeeze + 0.1), nn.Parameter(w_excite + 0.1)


@wrong("task_03_5")
class RepairedSE__one_hidden_unit_in_silence(_SE):
    """One hidden unit is used where none was left, and nobody is told; the task asks for a ValueError."""

    def make(self, channels, reduction):
        self.layers(channels, max(1, channels // reduction))


@wrong("task_03_5")
class RepairedSE__one_hidden_unit_refused(_SE):
    """A block with one hidden unit is refused; only one that has none must raise the ValueError."""

    def make(self, channels, reduction):
        if channels <= reduction:
            raise ValueError(f"channels={channels} and reduction={reduction} do not go together")
        self.layers(channels, channels // reduction)


@wrong("task_03_5")
class RepairedSE__another_default(_SE):
    """The reduction is 16 where nobody names one; here it is another number."""

    def __init__(self, channels, reduction=8):
        super().__init__(channels, reduction)


@wrong("task_03_5")
class RepairedSE__another_kind_of_error(_SE):
    """The block is refused, but with another kind of error; the task asks for a ValueError."""

    def make(self, channels, reduction):
        assert channels >= reduction, f"channels={channels} leaves no hidden unit at reduction={reduction}"
        self.layers(channels, channels // reduction)


@wrong("task_03_5")
class RepairedSE__error_without_numbers(_SE):
    """The error does not say which numbers do not go together."""

    def make(self, channels, reduction):
        if channels < reduction:
            raise ValueError("too few channels")
        self.layers(channels, channels // reduction)
