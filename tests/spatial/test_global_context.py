import pytest
import torch
from torch import nn

from course_lib.spatial.global_context import FUSIONS, GlobalContext, SimplifiedNonLocal
from tests.properties import assert_same, features, randomise


def summary(key, sample):
    """Σ_j α_j x_j of one c h w, one position at a time."""
    positions = [sample[:, i, j] for i in range(sample.shape[1]) for j in range(sample.shape[2])]
    weights = [torch.exp(key.weight[0, :, 0] @ x + (0 if key.bias is None else key.bias[0])) for x in positions]
    return sum(w * x for w, x in zip(weights, positions, strict=True)) / sum(weights)


def transform(layers, context):
    """W_v2 ReLU(LN(W_v1 context)), with the norm written out."""
    first, norm, _, last = layers
    hidden = first.weight @ context + first.bias
    centred = hidden - hidden.mean()
    hidden = norm.weight * centred / (centred.square().mean() + 1e-5).sqrt() + norm.bias
    return last.weight @ hidden.clamp(min=0) + last.bias


@pytest.mark.parametrize("fusion", FUSIONS)
def test_equals_the_double_loop(fusion):
    block, x = randomise(GlobalContext(13, reduction=3, fusion=fusion)), features(3, 13, 5, 7)
    expected = []
    for sample in x:
        z, context = sample, summary(block.key, sample)
        if fusion != "add":  # scale first, then add
            z = z / (1 + torch.exp(-transform(block.scale, context)))[:, None, None]
        if fusion != "scale":
            z = z + transform(block.add, context)[:, None, None]
        expected.append(z)
    assert_same(block(x), torch.stack(expected))


def test_simplified_equals_the_double_loop_with_the_value_inside_the_sum():
    block, x = randomise(SimplifiedNonLocal(13)), features(3, 13, 5, 7)
    inside = torch.stack([block.value(x[b].permute(1, 2, 0)).permute(2, 0, 1) for b in range(3)])  # W_v x_j
    weights = torch.stack([torch.exp(x[b].permute(1, 2, 0) @ block.key.weight[0]) for b in range(3)])  # b h w
    for b in range(3):
        total = sum(weights[b, i, j] * inside[b, :, i, j] for i in range(5) for j in range(7)) / weights[b].sum()
        assert_same(block(x)[b], x[b] + total[:, None, None])


def test_forward_applies_attention():
    x = features(3, 13, 5, 7)
    block = randomise(GlobalContext(13, reduction=3))
    context = torch.einsum("bcn,bn->bc", x.flatten(2), block.attention(x)[:, 0])
    assert_same(block(x), x + block.add(context)[:, :, None, None])
    block = randomise(SimplifiedNonLocal(13))
    context = torch.einsum("bcn,bn->bc", x.flatten(2), block.attention(x)[:, 0])
    assert_same(block(x), x + block.value(context)[:, :, None, None])


def test_adding_starts_as_the_identity_and_scaling_as_one_half():
    x = torch.randn(3, 13, 5, 7)
    assert torch.equal(GlobalContext(13, reduction=3)(x), x)
    assert torch.equal(SimplifiedNonLocal(13)(x), x)
    for fusion in ("scale", "scale_add"):
        assert torch.equal(GlobalContext(13, reduction=3, fusion=fusion)(x), x / 2)


@pytest.mark.parametrize("make", [lambda: GlobalContext(13, reduction=3), lambda: SimplifiedNonLocal(13)])
def test_adds_one_vector_everywhere_whatever_the_order_of_positions(make):
    block, x = randomise(make()), features(3, 13, 5, 7)
    added = (block(x) - x).flatten(2)
    assert_same(added, added[:, :, :1].expand_as(added))
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[:, :, order].unflatten(2, (5, 7))
    assert_same((block(shuffled) - shuffled).flatten(2), added)
    assert_same(block.attention(shuffled), block.attention(x)[:, :, order])


@pytest.mark.parametrize("make", [lambda: GlobalContext(13, reduction=3), lambda: SimplifiedNonLocal(13)])
def test_a_key_of_zero_pools_the_average_as_squeeze_and_excitation_does(make):
    block, x = randomise(make()), features(3, 13, 5, 7)
    nn.init.zeros_(block.key.weight)
    assert_same(block.attention(x), torch.full((3, 1, 35), 1 / 35).double())
    transformed = block.add if isinstance(block, GlobalContext) else block.value
    assert_same(block(x), x + transformed(x.mean(dim=(2, 3)))[:, :, None, None])


@pytest.mark.parametrize(("channels", "parameters"), [(256, 8_753), (512, 33_889), (1024, 133_313), (2048, 528_769)])
def test_has_the_published_number_of_parameters(channels, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in GlobalContext(channels).parameters()) == parameters


def test_adds_2521741_parameters_to_resnet_50():
    with torch.device("meta"):
        blocks = {512: 4, 1024: 6, 2048: 3}  # channels: blocks of the stages c3 to c5
        total = sum(n * sum(p.numel() for p in GlobalContext(c).parameters()) for c, n in blocks.items())
    assert total == 2_521_741


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [({"reduction": 9}, "use reduction <= 8"), ({"reduction": 2, "fusion": "mul"}, "use one of add")],
    ids=str,
)
def test_refuses_in_words(arguments, cure):
    with pytest.raises(ValueError, match=cure):
        GlobalContext(8, **arguments)
