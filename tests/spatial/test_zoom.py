import math

import pytest
import torch
import torch.nn.functional as F

from course_lib.spatial.zoom import AttentionProposal, box_mask, inside, rank_loss, strongest_region, zoom
from tests.properties import assert_same, features, randomise

IMAGES, MAPS = features(3, 2, 12, 16), features(3, 5, 4, 6, seed=2)
REGIONS = torch.tensor([[0.1, -0.2, 0.4], [-0.3, 0.23, 0.61], [0.0, 0.0, 0.9]], dtype=torch.float64)


def proposal(**arguments):
    return randomise(AttentionProposal(5, size=(3, 4), pool=2, hidden=7, **arguments))


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


@pytest.mark.parametrize("sharpness", [0.7, 10.0])
def test_mask_equals_the_loop(sharpness):
    mask = box_mask(REGIONS, 12, 16, sharpness=sharpness)
    assert mask.shape == (3, 1, 12, 16)
    for b, (x, y, half) in enumerate(REGIONS.tolist()):
        for i in range(12):
            for j in range(16):
                sides = []
                for p, centre, n in ((j + 0.5, x, 16), (i + 0.5, y, 12)):
                    low, high = ((centre + sign * half + 1) / 2 * n for sign in (-1, 1))
                    sides.append(sigmoid(sharpness * (p - low)) - sigmoid(sharpness * (p - high)))
                assert abs(mask[b, 0, i, j].item() - sides[0] * sides[1]) < 1e-9


def test_a_sharp_mask_is_the_box():
    mask = box_mask(torch.tensor([[0.25, 0.0, 0.5]], dtype=torch.float64), 8, 16, sharpness=1e4)
    expected = torch.zeros(8, 16, dtype=torch.float64)
    expected[2:6, 6:14] = 1  # rows −½ to ½, columns −¼ to ¾
    assert_same(mask[0, 0], expected)


def test_moving_the_box_right_loses_the_left_edge_and_gains_the_right_one():
    region = torch.tensor([[0.0, 0.0, 0.5]], dtype=torch.float64)

    def mask(x):
        return box_mask(region + x * torch.tensor([1.0, 0.0, 0.0]), 8, 16, sharpness=2.0)[0, 0, 4]

    slope = torch.autograd.functional.jacobian(mask, torch.zeros((), dtype=torch.float64))
    assert slope[4] < 0 and slope[3] < 0 and slope[11] > 0 and slope[12] > 0
    assert slope[8].abs() < 1e-2 * slope[12]


@pytest.mark.parametrize("height, width", [(24, 32), (31, 17)])
def test_zoom_into_everything_is_ordinary_enlargement(height, width):
    everything = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64).expand(3, 3)
    expected = F.interpolate(IMAGES, size=(height, width), mode="bilinear", align_corners=False)
    assert_same(zoom(IMAGES, everything, (height, width), sharpness=None), expected)


def test_zoom_to_the_same_pixels_is_the_crop():
    region = torch.tensor([[-0.25, 0.5, 0.5]], dtype=torch.float64).expand(3, 3)
    assert_same(zoom(IMAGES, region, (6, 8), sharpness=None), IMAGES[:, :, 6:12, 2:10])
    assert_same(zoom(IMAGES, region, (6, 8), sharpness=1e3), IMAGES[:, :, 6:12, 2:10])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_does_not_blur_the_coordinates(dtype):
    wide = features(1, 1, 4, 300).to(dtype)
    everything = torch.tensor([[0.0, 0.0, 1.0]])
    torch.testing.assert_close(zoom(wide, everything, (4, 300), sharpness=None), wide, atol=0.01, rtol=0)


def test_zoom_cuts_the_masked_image():
    masked = IMAGES * box_mask(REGIONS, 12, 16, sharpness=3.0)
    assert_same(zoom(IMAGES, REGIONS, 5, sharpness=3.0), zoom(masked, REGIONS, 5, sharpness=None))


@pytest.mark.parametrize("sharpness", [None, 2.0])
def test_gradient_by_the_region_is_that_of_finite_differences(sharpness):
    free = IMAGES.clone().requires_grad_(), REGIONS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, r: zoom(x, r, (5, 7), sharpness=sharpness), free, fast_mode=True)


def test_box_climbs_to_a_bright_spot_within_its_reach():
    """A hundred steps of gradient on the covered brightness; one pixel of 48 is 2/48."""
    axis = torch.linspace(-1, 1, 48)
    spot = torch.exp(-((axis - 0.25) ** 2 + (axis[:, None] + 0.2) ** 2) / 0.1)
    centre = torch.tensor([-0.2, 0.2], requires_grad=True)
    for _ in range(100):
        region = torch.cat([centre, torch.tensor([0.2])])[None]
        (slope,) = torch.autograd.grad((spot * box_mask(region, 48, 48, sharpness=0.5)).sum(), centre)
        centre = (centre + 0.01 * slope / slope.norm()).detach().requires_grad_()
    assert (centre - torch.tensor([0.25, -0.2])).norm() < 2 / 48


def test_a_region_is_moved_inside():
    regions = torch.tensor([[0.9, -0.9, 0.5], [0.1, 0.2, 0.3]])
    assert inside(regions).tolist() == [[0.5, -0.5, 0.5], pytest.approx([0.1, 0.2, 0.3])]


def test_strongest_region_lies_at_the_strongest_place():
    response = torch.zeros(2, 5, 4, 6)
    response[0, 2, 2, 3] = 1  # y 0.25, x 1/6
    response[1, 0, 0, 5] = 1  # a corner: moved inside
    torch.testing.assert_close(strongest_region(response), torch.tensor([[1 / 6, 0.25, 0.5], [0.5, -0.5, 0.5]]))


def test_attention_equals_its_formula():
    module = proposal()
    first, last = module.propose[0], module.propose[2]
    for b in range(3):
        corners = [(c, i, j) for c in range(5) for i in (0, 2) for j in (0, 3)]  # 4×6 in blocks of 2×3
        pooled = torch.stack([MAPS[b, c, i : i + 2, j : j + 3].max() for c, i, j in corners])
        x, y, half = (last.weight @ (first.weight @ pooled + first.bias).tanh() + last.bias).sigmoid()
        x, y = ((2 * t - 1).clamp(half - 1, 1 - half) for t in (x, y))
        assert_same(module.attention(MAPS)[b], torch.stack([x, y, half]))


@pytest.mark.parametrize("sharpness", [None, 10.0])
def test_forward_applies_attention(sharpness):
    module = proposal(sharpness=sharpness)
    assert_same(module(MAPS, IMAGES), zoom(IMAGES, module.attention(MAPS), (3, 4), sharpness=sharpness))


def test_starts_near_the_middle_with_half_the_side():
    torch.manual_seed(0)
    region = AttentionProposal(5, pool=2, hidden=64).attention(MAPS.float())
    torch.testing.assert_close(region, torch.tensor([[0.0, 0.0, 0.5]]).expand(3, 3), atol=0.3, rtol=0)


def test_proposal_on_vgg_features_has_102_764_547_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in AttentionProposal(512).parameters()) == 102_764_547


def test_rank_loss_equals_its_formula():
    coarse, fine, labels = features(3, 4), features(3, 4, seed=2), torch.tensor([2, 0, 3])
    expected = 0.0
    for b in range(3):
        p, finer = (x[b, labels[b]].exp() / x[b].exp().sum() for x in (coarse, fine))
        expected += max(torch.zeros(()).double(), p - finer + 0.05) / 3
    assert_same(rank_loss(coarse, fine, labels), expected)
    assert_same(rank_loss(coarse + 5, fine - 3, labels), expected)  # probabilities, not logits


def test_rank_loss_is_silent_once_the_finer_scale_is_surer_by_the_margin():
    labels, fine = torch.tensor([0]), torch.tensor([[2.0, 0.0]], requires_grad=True)
    rank_loss(torch.zeros(1, 2), fine, labels).backward()
    assert fine.grad.abs().max() == 0
    unsure = torch.zeros(1, 2, requires_grad=True)
    rank_loss(torch.zeros(1, 2), unsure, labels).backward()
    assert unsure.grad[0, 0] < 0


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="size=0"):
        zoom(IMAGES, REGIONS, 0)
    with pytest.raises(ValueError, match="3 3"):
        zoom(IMAGES, REGIONS[:, :2], 4)
    with pytest.raises(ValueError, match="channels=5"):
        proposal()(IMAGES, IMAGES)
    with pytest.raises(ValueError, match=r"convert it with x\.float"):
        zoom(IMAGES.long(), REGIONS, 4)
