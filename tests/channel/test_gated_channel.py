import math

import pytest
import torch

from course_lib.channel.gated_channel import GatedChannelTransform
from tests.properties import assert_same, features, randomise

NORMS = pytest.mark.parametrize("norm", ["l1", "l2"])
RELEASED = pytest.mark.parametrize("released", [False, True])


@NORMS
@RELEASED
def test_equals_the_double_loop(norm, released):
    eps = 0.3  # large, so that its place is seen
    block = randomise(GatedChannelTransform(13, norm=norm, epsilon=eps, released=released))
    x, expected = features(3, 13, 5, 7), torch.empty(3, 13, 5, 7, dtype=torch.float64)
    for b in range(3):
        if norm == "l2":
            s = [block.alpha[c] * math.sqrt(sum(v * v for v in x[b, c].flatten().tolist()) + eps) for c in range(13)]
            total = sum(v * v for v in s)
            size = torch.sqrt(total / 13 + eps) if released else torch.sqrt(total + eps) / math.sqrt(13)
        else:
            s = [block.alpha[c] * sum(abs(v) for v in x[b, c].flatten().tolist()) for c in range(13)]
            total = sum(abs(v) for v in s)
            size = total / 13 + eps if released else (total + eps) / 13
        for c in range(13):
            expected[b, c] = x[b, c] * (1 + torch.tanh(block.gamma[c] * s[c] / size + block.beta[c]))
    assert_same(block(x), expected)


@NORMS
@RELEASED
def test_autograd_gives_the_closed_form_gradients(norm, released):
    """The letters are those of lesson 05; g is the gradient that arrives at y."""
    eps = 0.3
    block = randomise(GatedChannelTransform(13, norm=norm, epsilon=eps, released=released))
    x, g = features(3, 13, 5, 7).requires_grad_(), features(3, 13, 5, 7, seed=2)
    block(x).backward(g)

    alpha, beta, gamma = (p.detach() for p in (block.alpha, block.beta, block.gamma))
    x, dx = x.detach(), x.grad
    eps_mean = eps if released else eps / 13
    if norm == "l2":
        E = (x.square().sum((2, 3)) + eps).sqrt()  # b c
        s = alpha * E
        M = (s.square().mean(1, keepdim=True) + eps_mean).sqrt()  # b 1
        s_hat = s / M
        dM, dE = s_hat / 13, x / E[:, :, None, None]  # ∂M/∂s_k and ∂E_c/∂x
    else:
        E = x.abs().sum((2, 3))
        s = alpha * E
        M = s.abs().mean(1, keepdim=True) + eps_mean
        s_hat = s / M
        dM, dE = s.sign() / 13, x.sign()
    T = torch.tanh(gamma * s_hat + beta)
    q = 1 - T.square()
    G = (g * x).sum((2, 3))  # b c
    D = G * q * gamma  # ∂L/∂ŝ
    S = (D - dM * (D * s_hat).sum(1, keepdim=True)) / M  # ∂L/∂s
    assert_same(block.beta.grad, (G * q).sum(0))
    assert_same(block.gamma.grad, (G * q * s_hat).sum(0))
    assert_same(block.alpha.grad, (S * E).sum(0))
    assert_same(dx, g * (1 + T)[:, :, None, None] + (S * alpha)[:, :, None, None] * dE)


@NORMS
def test_forward_applies_attention(norm):
    block, x = randomise(GatedChannelTransform(13, norm=norm)), features(3, 13, 5, 7)
    assert_same(block(x), block.attention(x) * x)


@NORMS
def test_starts_as_the_identity_exactly(norm):
    x = features(3, 13, 5, 7)
    assert torch.equal(GatedChannelTransform(13, norm=norm).double()(x), x)


@NORMS
def test_alpha_gets_no_gradient_while_gamma_is_zero(norm):
    block = GatedChannelTransform(13, norm=norm).double()
    x, g = features(3, 13, 5, 7), features(3, 13, 5, 7, seed=2)
    block(x).backward(g)
    assert torch.equal(block.alpha.grad, torch.zeros(13, dtype=torch.float64))
    assert_same(block.beta.grad, (g * x).sum((0, 2, 3)))
    assert_same(block.gamma.grad, ((g * x).sum((2, 3)) * block.normalised(block.embedding(x))).sum(0).detach())


def test_normalised_embedding_has_mean_square_one():
    block, x = randomise(GatedChannelTransform(13, epsilon=1e-12)), features(3, 13, 5, 7)
    s = block.normalised(block.embedding(x))
    assert_same(s.square().sum(dim=1), torch.full((3,), 13.0, dtype=torch.float64))


@NORMS
def test_scaling_every_alpha_changes_nothing(norm):
    block, x = randomise(GatedChannelTransform(13, norm=norm, epsilon=1e-13)), features(3, 13, 5, 7)
    before = block(x)
    before.sum().backward()
    euler = (block.alpha * block.alpha.grad).sum()
    assert euler.abs() < 1e-9 < block.alpha.grad.abs().max(), "Σ α ∂L/∂α = 0 for a function that ignores α's scale"
    block.alpha.data *= 7
    assert_same(block(x), before)


@NORMS
def test_scaling_the_input_scales_the_output(norm):
    block, x = randomise(GatedChannelTransform(13, norm=norm, epsilon=1e-13)), features(3, 13, 5, 7)
    assert_same(block(5 * x), 5 * block(x))


@NORMS
def test_positive_gamma_spreads_the_channels_and_negative_draws_them_together(norm):
    x = features(3, 13, 5, 7) * torch.linspace(0.2, 3, 13, dtype=torch.float64)[:, None, None]
    block = GatedChannelTransform(13, norm=norm).double()

    def spread(gamma):
        torch.nn.init.constant_(block.gamma, gamma)
        sizes = block(x).square().sum((2, 3)).sqrt()
        return sizes.std(dim=1) / sizes.mean(dim=1)

    assert (spread(-0.1) < spread(0.0)).all() and (spread(0.0) < spread(0.1)).all()


@NORMS
def test_a_channel_that_grows_lowers_the_other_gates_when_gamma_is_positive(norm):
    block, x = GatedChannelTransform(13, norm=norm).double(), features(3, 13, 5, 7)
    torch.nn.init.constant_(block.gamma, 0.5)
    before = block.attention(x)
    x[:, 4] *= 3
    change = block.attention(x) - before
    others = torch.arange(13) != 4
    assert (change[:, 4] > 0).all() and (change[:, others] < 0).all()


def test_gates_do_not_see_where_pixels_are():
    block, x = randomise(GatedChannelTransform(13)), features(3, 13, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[:, :, order].unflatten(2, (5, 7))
    assert_same(block.attention(shuffled), block.attention(x))


def test_permuting_channels_and_parameters_together_permutes_the_output():
    block, permuted = (randomise(GatedChannelTransform(13)) for _ in range(2))
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    for name, parameter in permuted.named_parameters():
        parameter.data = getattr(block, name).data[order]
    x = features(3, 13, 5, 7)
    assert_same(permuted(x[:, order]), block(x)[:, order])


@NORMS
def test_channels_of_zeros_have_finite_gradients(norm):
    block, x = randomise(GatedChannelTransform(13, norm=norm)), features(3, 13, 5, 7)
    x[0], x[1, 4] = 0, 0
    block(x.requires_grad_()).sum().backward()
    assert x.grad.isfinite().all()
    assert [name for name, p in block.named_parameters() if not p.grad.isfinite().all()] == []


def test_adds_67593_parameters_to_resnet_50():
    widths = [3]  # input channels of every convolution: the stem, then 3 + 4 + 6 + 3 bottlenecks and 4 shortcuts
    for width, blocks, before in ((64, 3, 64), (128, 4, 256), (256, 6, 512), (512, 3, 1024)):
        widths += [before, before, width, width]  # first block with its shortcut
        widths += [4 * width, width, width] * (blocks - 1)
    assert len(widths) == 53
    assert sum(p.numel() for c in widths for p in GatedChannelTransform(c).parameters()) == 67_593


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"norm": "l3"}, "use 'l2' or 'l1'"),
        ({"epsilon": 0.0}, "use epsilon > 0"),
        ({"channels": 0}, "use channels >= 1"),
    ],
)
def test_names_the_argument_that_fits(arguments, cure):
    with pytest.raises(ValueError, match=cure):
        GatedChannelTransform(**{"channels": 8, **arguments})


def test_behind_a_relu_the_sum_is_the_size():
    usual, behind = (randomise(GatedChannelTransform(13, norm="l1", after_relu=flag)) for flag in (False, True))
    x = features(3, 13, 5, 7)
    assert_same(behind(x.relu()), usual(x.relu()))
    assert_same(behind.embedding(x), behind.alpha * x.sum(dim=(2, 3)))
