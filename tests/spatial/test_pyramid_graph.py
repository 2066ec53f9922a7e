import pytest
import torch
import torch.nn.functional as F

from course_lib.spatial.pyramid_graph import GraphReasoning, PyramidGraph
from tests.properties import assert_same, features, randomise


def dense(level, x):
    """I − D^-½ Â D^-½ of one image c h w, entry by entry."""
    weight, bias = level.embed.weight[:, :, 0, 0], level.embed.bias
    phi = [(weight @ x[:, i, j] + bias).clamp(min=0) for i in range(x.shape[1]) for j in range(x.shape[2])]
    metric = torch.sigmoid(level.metric.weight @ x.mean(dim=(1, 2)) + level.metric.bias)
    similarity = torch.stack([torch.stack([(p * metric * q).sum() for q in phi]) for p in phi])
    degree = similarity.sum(dim=1)
    return torch.eye(len(phi)) - torch.stack([similarity[i] / (degree[i] * degree).sqrt() for i in range(len(phi))])


def test_one_level_equals_the_double_loop():
    level, x = randomise(GraphReasoning(7, 9)), features(3, 7, 3, 4)
    for b in range(3):
        smoothed = (x[b].flatten(1) @ dense(level, x[b]).T).view(1, 7, 3, 4)  # each column: Σ_j L̃_ij x_j
        expected = torch.einsum("oc,bchw->bohw", level.update.weight[:, :, 0, 0], smoothed).clamp(min=0)
        assert_same(level(x[b : b + 1]), expected)


def halved(x):
    """The mean over each 2 × 2 cell, the last row or column of an odd size on its own. b c h w."""
    rows, columns = (range(0, size, 2) for size in x.shape[2:])
    return torch.stack(
        [torch.stack([x[:, :, i : i + 2, j : j + 2].mean((2, 3)) for j in columns], dim=2) for i in rows], dim=2
    )


@pytest.mark.parametrize("shape", [(5, 7), (1, 6), (1, 1)])
@pytest.mark.parametrize("levels", [1, 3])
def test_adds_up_what_the_levels_say(levels, shape):
    block, x = randomise(PyramidGraph(7, levels=levels)), features(3, 7, *shape)
    expected, smaller = torch.zeros_like(x), x
    for level in block.levels:
        expected = expected + F.interpolate(level(smaller), shape, mode="bilinear", align_corners=False)
        smaller = halved(smaller)
    assert_same(block(x), expected)


def test_forward_applies_attention():
    block, x = randomise(PyramidGraph(7, levels=2)), features(3, 7, 4, 6)
    expected, smaller = 0, x
    for level, attention in zip(block.levels, block.attention(x), strict=True):
        rest = smaller.flatten(2) - torch.einsum("bij,bcj->bci", attention, smaller.flatten(2))
        said = level.update(rest.view(smaller.shape)).relu()
        expected = expected + F.interpolate(said, (4, 6), mode="bilinear")
        smaller = halved(smaller)
    assert_same(block(x), expected)


def test_the_laplacian_has_its_spectrum_in_0_1_and_knows_its_own_zero():
    level, x = randomise(GraphReasoning(7, 9)), features(3, 7, 4, 5)
    attention = level.attention(x)
    assert_same(attention, attention.mT)
    eigenvalues = torch.linalg.eigvalsh(torch.eye(20) - attention)
    assert eigenvalues.min() > -1e-9 and eigenvalues.max() < 1 + 1e-9
    phi = level.embed(x).relu().flatten(2)
    metric = level.metric(x.mean(dim=(2, 3))).sigmoid()[:, :, None]
    root = (phi.mT @ (metric * phi)).sum(dim=2, keepdim=True).sqrt()  # D^½ 1
    assert_same(attention @ root, root)


def test_a_dead_pixel_is_like_no_other_and_does_no_harm():
    level, x = randomise(GraphReasoning(7, 4)), features(3, 7, 4, 5)
    level.embed.weight.data.abs_()
    level.embed.bias.data.zero_()
    x[:, :, 1, 2] = -x[:, :, 1, 2].abs()  # φ = 0
    x.requires_grad_()
    output = level(x)
    assert_same(level.attention(x)[:, 7], torch.zeros(3, 20).double())
    output.sum().backward()
    assert x.grad.isfinite().all()


def test_forward_builds_no_map():
    block, x, sizes = PyramidGraph(6), torch.randn(1, 6, 24, 20), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.untyped_storage().nbytes()) or t, id):
        block(x)
    assert max(sizes) <= x.nbytes


def test_reads_an_image_of_128_by_128():
    with torch.no_grad():
        assert PyramidGraph(4)(torch.randn(1, 4, 128, 128)).shape == (1, 4, 128, 128)  # a map would hold 1 GB


def test_each_level_learns_its_own():
    level = 2 * (7 * 3 + 3) + 7 * 7  # φ and Λ with bias, Θ without
    for levels in (1, 4):
        assert sum(p.numel() for p in PyramidGraph(7, levels=levels).parameters()) == levels * level


@pytest.mark.parametrize("wrong", [{"levels": 0}, {"features": 0}], ids=str)
def test_refuses_in_words(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        PyramidGraph(8, **wrong)
