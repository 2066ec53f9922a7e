import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.spatial.spatial_transformer import (
    SpatialTransformer,
    affine_grid,
    bilinear_sample,
    pixel_centres,
    warp,
)
from tests.properties import assert_same, features, randomise

IMAGES = features(3, 2, 5, 7)
IDENTITY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)


def near_identity(batch=3, seed=2):
    return IDENTITY + 0.5 * features(batch, 2, 3, seed=seed)


def transformer(outputs=6, **arguments):
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, outputs))
    return SpatialTransformer(net.double(), **arguments)


def warp_by_loop(images, theta, height, width, align_corners):
    """Pixel by pixel: normalise, map, go back to pixels, mix the four neighbours."""
    b, c, h, w = images.shape
    out = images.new_zeros(b, c, height, width)
    for n in range(b):
        for i in range(height):
            for j in range(width):
                if align_corners:
                    x, y = (2 * j / (width - 1) - 1, 2 * i / (height - 1) - 1)
                else:
                    x, y = ((2 * j + 1) / width - 1, (2 * i + 1) / height - 1)
                xs, ys = (float(row[0] * x + row[1] * y + row[2]) for row in theta[n])
                if align_corners:
                    xs, ys = (xs + 1) * (w - 1) / 2, (ys + 1) * (h - 1) / 2
                else:
                    xs, ys = ((xs + 1) * w - 1) / 2, ((ys + 1) * h - 1) / 2
                for row in (math.floor(ys), math.floor(ys) + 1):
                    for col in (math.floor(xs), math.floor(xs) + 1):
                        if 0 <= row < h and 0 <= col < w:
                            out[n, :, i, j] += images[n, :, row, col] * (1 - abs(xs - col)) * (1 - abs(ys - row))
    return out


@pytest.mark.parametrize("align_corners", [False, True])
def test_warp_equals_the_double_loop(align_corners):
    theta = near_identity()
    expected = warp_by_loop(IMAGES, theta, 4, 6, align_corners)
    assert_same(warp(IMAGES, theta, (4, 6), align_corners=align_corners), expected)
    grid = affine_grid(theta, 4, 6, align_corners=align_corners)
    assert_same(bilinear_sample(IMAGES, grid, align_corners=align_corners), expected)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("height, width", [(4, 6), (1, 5), (3, 1)])
def test_grid_equals_torchs(height, width, align_corners):
    theta = near_identity()
    expected = F.affine_grid(theta, [3, 2, height, width], align_corners=align_corners)
    assert_same(affine_grid(theta, height, width, align_corners=align_corners), expected)


@pytest.mark.parametrize("align_corners", [False, True])
def test_one_pixel_lies_in_the_middle(align_corners):
    assert pixel_centres(1, align_corners=align_corners, like=IMAGES).tolist() == [0.0]


@pytest.mark.parametrize("outputs", [6, 3])
@pytest.mark.parametrize("align_corners", [False, True])
def test_starts_as_the_identity(outputs, align_corners):
    module = transformer(outputs, align_corners=align_corners)
    assert_same(module.attention(IMAGES), IDENTITY.expand(3, 2, 3))
    assert_same(module(IMAGES), IMAGES)


@pytest.mark.parametrize("outputs", [6, 3])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
def test_forward_applies_attention(outputs, align_corners, padding_mode):
    module = randomise(transformer(outputs, size=(4, 6), align_corners=align_corners, padding_mode=padding_mode))
    grid = F.affine_grid(module.attention(IMAGES), [3, 2, 4, 6], align_corners=align_corners)
    assert_same(module(IMAGES), F.grid_sample(IMAGES, grid, padding_mode=padding_mode, align_corners=align_corners))


def test_six_numbers_are_two_rows_and_three_are_scale_and_translation():
    numbers = features(1, 6)[0]
    affine, attention = transformer(6), transformer(3)
    affine.localisation[-1].bias.data = numbers
    attention.localisation[-1].bias.data = numbers[:3]
    assert_same(affine.attention(IMAGES)[0], numbers.view(2, 3))
    s, x, y = numbers[:3].tolist()
    assert attention.attention(IMAGES)[0].tolist() == [[s, 0, x], [0, s, y]]


def test_positive_translation_in_x_moves_the_content_left():
    image = torch.zeros(1, 1, 5, 8, dtype=torch.float64)
    image[0, 0, 2, 3] = 1
    theta = IDENTITY.clone()[None]
    theta[0, 0, 2] = 0.5  # half of the half-width: two pixels
    assert warp(image, theta)[0, 0].nonzero().tolist() == [[2, 1]]


def test_scale_below_one_zooms_in():
    image = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    image[0, 0, 3, 3] = 1
    theta = IDENTITY[None] * torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64)
    assert (warp(image, theta) > 0).sum() == 16


def test_inverse_map_undoes_the_warp():
    smooth = torch.linspace(-1, 1, 41, dtype=torch.float64)
    image = (1 - smooth[:, None] ** 2)[None, None] * torch.cos(2 * smooth)
    theta = near_identity(1, seed=3) * 0.3 + IDENTITY * 0.7
    square = torch.cat([theta, torch.tensor([[[0.0, 0.0, 1.0]]]).double()], dim=1)
    back = warp(warp(image, theta), square.inverse()[:, :2])
    middle = slice(16, 25)
    torch.testing.assert_close(back[..., middle, middle], image[..., middle, middle], atol=0.01, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_does_not_blur_the_coordinates(dtype):
    wide = features(1, 1, 4, 300).to(dtype)
    torch.testing.assert_close(warp(wide, IDENTITY[None]), wide, atol=0.01, rtol=0)


def test_each_image_has_its_own_map():
    theta = near_identity()
    assert_same(warp(IMAGES, theta)[1:2], warp(IMAGES[1:2], theta[1:2]))


def test_gradients_by_image_and_theta_are_those_of_finite_differences():
    arguments = IMAGES.clone().requires_grad_(), near_identity().requires_grad_()
    assert torch.autograd.gradcheck(warp, arguments)


def test_gradient_by_translation_is_the_slope_of_the_image():
    ramp = torch.arange(7.0, dtype=torch.float64).expand(1, 1, 5, 7).contiguous()
    theta = IDENTITY.clone()[None].requires_grad_()
    warp(ramp, theta * 0.5)[..., 2, 3].sum().backward()
    per_unit = 7 / 2  # pixels, each one brighter than the last
    assert_same(theta.grad[0, 0, 2], torch.tensor(0.5 * per_unit, dtype=torch.float64))
    assert theta.grad[0, 1, 2] == 0


def test_mixed_corner_conventions_are_not_the_identity():
    grid = affine_grid(IDENTITY[None], 5, 7, align_corners=True)
    assert (bilinear_sample(IMAGES[:1], grid, align_corners=False) - IMAGES[:1]).abs().max() > 0.1


def test_padding_shows_a_frame_of_zeros_or_the_border():
    theta = IDENTITY[None] * 2
    ones = torch.ones(1, 1, 6, 6, dtype=torch.float64)
    assert warp(ones, theta)[0, 0, 0, 0] == 0
    assert_same(warp(ones, theta, padding_mode="border"), ones)


def test_learns_to_undo_a_shift():
    """The loss of what follows reaches θ through the sampler."""
    image = torch.exp(-((torch.linspace(-1, 1, 16)[:, None]) ** 2 + torch.linspace(-1, 1, 16) ** 2) / 0.2)[None, None]
    shifted = warp(image, torch.tensor([[[1.0, 0.0, 0.4], [0.0, 1.0, -0.2]]]))
    module = SpatialTransformer(nn.Sequential(nn.Flatten(), nn.Linear(256, 3)))
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        (module(shifted) - image).square().mean().backward()
        optimiser.step()
    torch.testing.assert_close(module.attention(shifted)[0, :, 2], torch.tensor([-0.4, 0.2]), atol=0.05, rtol=0)


@pytest.mark.parametrize("last", [nn.Linear(4, 5), nn.Linear(4, 6, bias=False), nn.ReLU()])
def test_names_what_the_localisation_must_end_in(last):
    with pytest.raises(ValueError, match=r"end it in nn\.Linear\(…, 6\)"):
        SpatialTransformer(nn.Sequential(nn.Flatten(), last))


class Localiser(nn.Module):
    """One that a user wrote: no nn.Sequential."""

    def __init__(self, outputs=6):
        super().__init__()
        self.first, self.last, self.outputs = nn.Linear(2, 5), nn.Linear(5, 6), outputs

    def forward(self, x):
        return self.last(self.first(x.mean(dim=(2, 3))).relu())[:, : self.outputs]


def test_any_module_may_localise():
    x = features(3, 2, 5, 7)
    assert_same(SpatialTransformer(Localiser().double())(x), x)
    with pytest.raises(ValueError, match=r"localisation gave \(3, 4\); it must give b 6"):
        SpatialTransformer(Localiser(outputs=4).double())(x)


def test_a_lazy_layer_must_have_run():
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(6))
    with pytest.raises(ValueError, match="no weights yet; run it once"):
        SpatialTransformer(net)
    net.double()(IMAGES)
    assert_same(SpatialTransformer(net)(IMAGES), IMAGES)


def test_names_an_impossible_size():
    with pytest.raises(ValueError, match=r"size=\(0, 4\)"):
        transformer(size=(0, 4))


@pytest.mark.parametrize("height, width", [(1, 7), (5, 1), (1, 1)])
def test_one_row_or_column_still_starts_as_the_identity(height, width):
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * height * width, 6)).double()
    x = features(3, 2, height, width)
    assert_same(SpatialTransformer(net)(x), x)


def test_an_empty_batch_stays_empty():
    assert transformer(size=(4, 6))(IMAGES[:0]).shape == (0, 2, 4, 6)
