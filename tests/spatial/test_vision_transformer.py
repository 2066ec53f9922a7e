import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.spatial.vision_transformer import (
    SIZES,
    EncoderBlock,
    NormedPatchEmbedding,
    PatchEmbedding,
    VisionTransformer,
    interpolate_positions,
    rollout,
)
from tests.properties import assert_same, features, randomise


def tiny(**arguments) -> VisionTransformer:
    sizes = {"embed_dim": 10, "depth": 2, "num_heads": 2, "num_classes": 7} | arguments
    return randomise(VisionTransformer((8, 12), patch_size=4, channels=3, **sizes))


# The patches


def pieces(x, p, q):
    """The p×q patches row by row, each channel by channel, row by row."""
    _, _, h, w = x.shape
    corners = [(i, j) for i in range(0, h, p) for j in range(0, w, q)]
    return [x[:, :, i : i + p, j : j + q].flatten(1) for i, j in corners]


@pytest.mark.parametrize("sides", [4, (4, 6), (2, 3)])
def test_the_convolution_is_one_linear_layer_on_flattened_patches(sides):
    embed, x = randomise(PatchEmbedding(3, 11, patch_size=sides)), features(3, 3, 8, 12)
    tokens, patches = embed(x), pieces(x, *((4, 4) if sides == 4 else sides))
    assert tokens.shape[1] == len(patches)
    for n, patch in enumerate(patches):
        assert_same(tokens[:, n], F.linear(patch, embed.projection.weight.flatten(1), embed.projection.bias))


def test_norms_may_stand_around_the_linear_layer():
    embed, x = randomise(NormedPatchEmbedding(3, 11, patch_size=(4, 6))), features(3, 3, 8, 12)

    def normalise(z, norm):
        mean, variance = z.mean(dim=1, keepdim=True), z.var(dim=1, correction=0, keepdim=True)
        return (z - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias

    for n, patch in enumerate(pieces(x, 4, 6)):
        y = normalise(patch, embed.norm_before) @ embed.projection.weight.T + embed.projection.bias
        assert_same(embed(x)[:, n], normalise(y, embed.norm_after))
    vit = tiny(patch_norm=True)
    assert isinstance(vit.patches, NormedPatchEmbedding) and vit(x).shape == (3, 7)


def test_a_patch_of_variance_one_starts_as_a_token_of_variance_one():
    torch.manual_seed(0)
    tokens = PatchEmbedding(3, 500, patch_size=16)(torch.randn(20, 3, 16, 16))
    assert abs(tokens.var() - 1) < 0.05


# The block


@pytest.mark.parametrize("head_dim", [5, 3, 8])
def test_the_maps_equal_the_double_loop(head_dim):
    block, x = randomise(EncoderBlock(10, 2, head_dim=head_dim)), features(3, 4, 10)
    expected = torch.empty(3, 2, 4, 4, dtype=torch.float64)
    for b in range(3):
        mean, variance = x[b].mean(1, keepdim=True), x[b].var(1, correction=0, keepdim=True)
        z = (x[b] - mean) / (variance + 1e-6).sqrt() * block.attention_norm.weight + block.attention_norm.bias
        for s in range(2):
            head = slice(head_dim * s, head_dim * s + head_dim)
            for i in range(4):
                query = block.query.weight[head] @ z[i] + block.query.bias[head]
                keys = [block.key.weight[head] @ z[j] + block.key.bias[head] for j in range(4)]
                weights = torch.stack([torch.exp(query @ key / math.sqrt(head_dim)) for key in keys])
                expected[b, s, i] = weights / weights.sum()
    assert_same(block.attention(x), expected)


@pytest.mark.parametrize("mlp_ratio", [1, 4])
def test_the_block_is_torchs_pre_norm_encoder_layer(mlp_ratio):
    block, x = randomise(EncoderBlock(10, 2, mlp_ratio=mlp_ratio)), features(3, 4, 10)
    layer = nn.TransformerEncoderLayer(
        10, 2, 10 * mlp_ratio, 0.0, F.gelu, layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).double()
    stacked = [block.query, block.key, block.value]
    layer.self_attn.in_proj_weight.data = torch.cat([part.weight for part in stacked])
    layer.self_attn.in_proj_bias.data = torch.cat([part.bias for part in stacked])
    pairs = {layer.self_attn.out_proj: block.project, layer.norm1: block.attention_norm, layer.norm2: block.mlp_norm}
    for theirs, ours in (pairs | {layer.linear1: block.expand, layer.linear2: block.contract}).items():
        theirs.load_state_dict(ours.state_dict())
    assert_same(block(x), layer(x))


@pytest.mark.parametrize("head_dim", [None, 3])
def test_forward_applies_attention(head_dim):
    block, x = randomise(EncoderBlock(10, 2, head_dim=head_dim)), features(3, 4, 10)
    values = block.value(block.attention_norm(x)).split(head_dim or 5, dim=2)
    heard = [block.attention(x)[:, s] @ value for s, value in enumerate(values)]
    z = x + block.project(torch.cat(heard, dim=2))
    assert_same(block(x), z + block.contract(F.gelu(block.expand(block.mlp_norm(z)))))


def test_each_argument_of_the_block_has_its_effect():
    x = 1e-3 * features(3, 4, 10)  # so small that eps counts
    exact, tanh, larger = (
        randomise(EncoderBlock(10, 2, **arguments))(x) for arguments in ({}, {"approximate": "tanh"}, {"eps": 1e-5})
    )
    assert 1e-6 < (exact - tanh).abs().max() < 0.1
    assert (exact - larger).abs().max() > 0.1


def test_the_block_does_not_know_the_order_of_its_tokens():
    block, x = randomise(EncoderBlock(10, 2)), features(3, 6, 10)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert_same(block(x[:, order]), block(x)[:, order])
    assert_same(block.attention(x[:, order]), block.attention(x)[:, :, order][..., order])


def test_a_constant_added_to_every_channel_is_passed_on_and_otherwise_unseen():
    block, x = randomise(EncoderBlock(10, 2)), features(3, 6, 10)
    assert_same(block(x + 3), block(x) + 3)  # the sum is never normalised: pre-norm


# The whole


def test_the_logits_follow_the_papers_four_equations():
    vit, x = tiny(), features(3, 3, 8, 12)
    z = torch.cat([vit.class_token.repeat(3, 1, 1), vit.patches(x)], dim=1) + vit.positions
    for block in vit.blocks:
        z = block(z)
    assert_same(vit(x), vit.head(vit.norm(z)[:, 0]))


def test_the_maps_are_those_of_each_block_in_turn():
    vit, x = tiny(), features(3, 3, 8, 12)
    first, second = vit.attention(x)
    assert_same(first, vit.blocks[0].attention(vit.tokens(x)))
    assert_same(second, vit.blocks[1].attention(vit.blocks[0](vit.tokens(x))))


def test_a_hidden_layer_of_the_head_ends_in_tanh():
    vit, x = tiny(representation_size=5), features(3, 3, 8, 12)
    z = vit.blocks[1](vit.blocks[0](vit.tokens(x)))[:, 0]
    hidden = vit.pre_logits[0]
    assert_same(vit(x), vit.head(torch.tanh(F.linear(vit.norm(z), hidden.weight, hidden.bias))))


def test_patches_and_positions_permuted_together_change_nothing():
    vit, x = tiny(), features(3, 3, 8, 12)
    order, before = torch.tensor([3, 0, 5, 1, 4, 2]), vit(x)
    shuffled = x.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3)[:, :, order]  # b c 8 12 -> b c 6 4 4
    shuffled = shuffled.unflatten(2, (2, 3)).transpose(3, 4).flatten(2, 3).flatten(3)  # -> b c 8 12
    assert not torch.allclose(vit(shuffled), before)
    vit.positions.data = torch.cat([vit.positions[:, :1], vit.positions[:, 1:][:, order]], dim=1)
    assert_same(vit(shuffled), before)


def test_starts_as_the_released_code():
    torch.manual_seed(0)
    vit = VisionTransformer(32, patch_size=4, embed_dim=96, depth=1, num_heads=3)
    assert vit.class_token.count_nonzero() == 0
    assert abs(vit.positions.std() - 0.02) < 1e-3
    linear = {name: layer for name, layer in vit.named_modules() if isinstance(layer, nn.Linear)}
    assert [name for name, layer in linear.items() if layer.bias.count_nonzero()] == []
    assert abs(vit.blocks[0].query.weight.std() - math.sqrt(2 / (96 + 96))) < 3e-3  # Xavier


def test_every_norm_has_the_eps_that_was_asked_for():
    vit = VisionTransformer(8, patch_size=4, embed_dim=12, depth=2, num_heads=3, eps=1e-3)
    assert [layer.eps for layer in vit.modules() if isinstance(layer, nn.LayerNorm)] == [1e-3] * 5


def test_every_weight_moves_in_the_first_step():
    torch.manual_seed(0)
    vit = VisionTransformer((8, 12), patch_size=4, channels=3, embed_dim=10, depth=2, num_heads=2, num_classes=7)
    vit(torch.randn(3, 3, 8, 12)).square().sum().backward()
    still = [name for name, p in vit.named_parameters() if not p.grad.any() and not name.endswith("key.bias")]
    assert still == []


@pytest.mark.parametrize(
    ("size", "patch", "parameters"),
    [
        ("Ti", 16, 5_717_416),
        ("S", 16, 22_050_664),
        ("S", 32, 22_878_952),
        ("B", 16, 86_567_656),
        ("B", 32, 88_224_232),
        ("B", 8, 86_576_872),
        ("L", 16, 304_326_632),
        ("L", 32, 306_535_400),
        ("H", 14, 632_045_800),
    ],
)
def test_has_as_many_parameters_as_published(size, patch, parameters):
    with torch.device("meta"):  # shapes without numbers
        vit = VisionTransformer(224, patch_size=patch, **SIZES[size])
    assert sum(p.numel() for p in vit.parameters()) == parameters


def test_the_quadratic_part_of_vit_b_16_is_4_percent_at_224_and_47_at_1024():
    for side, share in ((224, 0.041), (384, 0.111), (1024, 0.47)):
        n, d = 1 + (side // 16) ** 2, SIZES["B"]["embed_dim"]
        assert abs(2 * n * n * d / (2 * n * n * d + 12 * n * d * d) - share) < 0.005


# Rollout


def test_rollout_equals_the_product_written_out():
    maps = [features(3, 2, 5, 5, seed=seed).softmax(dim=3) for seed in range(3)]
    first, second, third = ((a[:, 0] + a[:, 1]) / 4 + torch.eye(5) / 2 for a in maps)
    assert_same(rollout(maps), torch.einsum("bij,bjk,bkl->bil", third, second, first))


def test_rows_of_rollout_sum_to_one_even_where_entries_were_dropped():
    maps = [features(3, 2, 5, 5, seed=seed).softmax(dim=3) for seed in range(3)]
    dropped = [a * (a > 0.2) for a in maps]
    total = rollout(dropped).sum(dim=2)
    assert_same(total, torch.ones_like(total))


def test_rollout_of_tokens_that_hear_only_themselves_is_the_identity():
    identity = torch.eye(5, dtype=torch.float64)
    assert_same(rollout([identity.expand(3, 2, 5, 5)] * 4), identity.expand(3, 5, 5))


def test_rollout_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 maps"):
        rollout([])


# Positions

METHODS = ["bicubic", "antialiased", "aligned"]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_grid_gives_the_same_positions(method):
    positions = features(1, 1 + 6, 5)
    assert_same(interpolate_positions(positions, (2, 3), grid=(2, 3), method=method), positions)


@pytest.mark.parametrize("method", METHODS)
def test_the_class_row_stays_and_rows_stay_rows(method):
    rows = features(4, 1, 5).expand(4, 3, 5)  # differ from row to row only
    positions = torch.cat([features(1, 1, 5, seed=2), rows.reshape(1, 12, 5)], dim=1)
    larger = interpolate_positions(positions, (7, 6), grid=(4, 3), method=method)
    assert_same(larger[:, :1], positions[:, :1])
    image = larger[:, 1:].unflatten(1, (7, 6))
    assert_same(image, image[:, :, :1].expand(1, 7, 6, 5))
    assert image.std(dim=1).min() > 0.1


def cubic(distance: float, a: float = -0.75) -> float:
    """Keys' cubic kernel."""
    t = abs(distance)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def resize(old: int, new: int, method: str) -> torch.Tensor:
    """The matrix new × old of one axis."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        if method == "aligned":
            centre, kernel = i * (old - 1) / (new - 1), lambda t: max(0.0, 1 - abs(t))
        else:
            centre, kernel = (i + 0.5) * old / new - 0.5, cubic
        for j in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[i, min(max(j, 0), old - 1)] += kernel(j - centre)
    return matrix


@pytest.mark.parametrize("method", ["bicubic", "aligned"])
def test_interpolation_equals_its_kernel_along_each_axis(method):
    positions = features(1, 1 + 20, 3)
    image = positions[0, 1:].unflatten(0, (4, 5))
    expected = torch.einsum("Hh,Ww,hwd->HWd", resize(4, 7, method), resize(5, 9, method), image)
    larger = interpolate_positions(positions, (7, 9), grid=(4, 5), method=method)
    assert_same(larger[0, 1:].unflatten(0, (7, 9)), expected)


def test_antialiasing_averages_what_plain_bicubic_skips():
    checks = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64).repeat(8, 8).reshape(1, 256, 1)
    positions = F.pad(checks, (0, 0, 1, 0))
    plain, smooth = (
        interpolate_positions(positions, (5, 5), method=method)[:, 1:] for method in ("bicubic", "antialiased")
    )
    assert smooth.std() < 0.05 < plain.std()


def test_a_stretched_model_takes_the_larger_image():
    small, large = (
        tiny(),
        randomise(VisionTransformer((16, 20), patch_size=4, embed_dim=10, depth=2, num_heads=2, num_classes=7)),
    )
    weights = small.state_dict()
    weights["positions"] = interpolate_positions(weights["positions"], large.grid, grid=small.grid)
    large.load_state_dict(weights)
    assert large(features(3, 3, 16, 20)).shape == (3, 7)


def test_rollout_takes_maps_averaged_or_stacked():
    maps = [features(3, 2, 5, 5, seed=i).softmax(dim=-1) for i in range(4)]
    assert_same(rollout([one.mean(dim=1) for one in maps]), rollout(maps))
    assert_same(rollout(torch.stack(maps)), rollout(maps))


@pytest.mark.parametrize("method", ["bicubic", "antialiased", "aligned"])
def test_positions_are_stretched_in_half_precision(method):
    positions = features(1, 1 + 9, 4)
    half = interpolate_positions(positions.half(), (4, 5), method=method)
    assert half.dtype == torch.float16
    torch.testing.assert_close(
        half.double(), interpolate_positions(positions, (4, 5), method=method), rtol=0, atol=5e-3
    )


def test_dinos_stretching_asks_for_a_little_more():
    positions = features(1, 1 + 9, 4)
    picture = positions[:, 1:].mT.unflatten(2, (3, 3))
    scaled = F.interpolate(picture, scale_factor=(4.1 / 3, 5.1 / 3), mode="bicubic", align_corners=False)
    stretched = interpolate_positions(positions, (4, 5), method="dino")
    assert_same(stretched[:, 1:].mT.unflatten(2, (4, 5)), scaled)
    assert not torch.allclose(stretched, interpolate_positions(positions, (4, 5)))


def test_the_mean_of_the_patches_may_answer():
    vit, x = tiny(pool="mean"), features(3, 3, 8, 12)
    tokens = vit.tokens(x)
    for block in vit.blocks:
        tokens = block(tokens)
    assert_same(vit(x), vit.head(vit.norm(tokens[:, 1:].mean(dim=1))))
    with pytest.raises(ValueError, match="use 'token'"):
        tiny(pool="max")


def test_without_classes_the_result_is_the_features():
    vit, x = tiny(num_classes=0), features(3, 3, 8, 12)
    z = vit.blocks[1](vit.blocks[0](vit.tokens(x)))
    assert_same(vit(x), vit.norm(z[:, 0]))


def test_heads_and_patches_of_any_size_fit_together():
    vit = randomise(VisionTransformer((8, 12), patch_size=(2, 6), embed_dim=10, depth=1, num_heads=3, head_dim=4))
    assert vit.grid == (4, 2) and vit.blocks[0].query.weight.shape == (12, 10)
    assert vit.attention(features(3, 3, 8, 12))[0].shape == (3, 3, 9, 9)


# Errors


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: EncoderBlock(10, 3), "embed_dim=10 cannot be shared by num_heads=3"),
        (lambda: EncoderBlock(10, 0), "num_heads=0"),
        (lambda: VisionTransformer((8, 10), patch_size=4), "patch_size=4 does not divide image_size=8×10"),
        (lambda: VisionTransformer(0, patch_size=4), "image_size=0×0"),
        (lambda: PatchEmbedding(3, 5, patch_size=4)(torch.zeros(1, 3, 8, 10)), "multiples of 4"),
        (lambda: EncoderBlock(10, 2).attention(torch.zeros(1, 4, 9)), "length 10"),
        (lambda: EncoderBlock(10, 2)(torch.zeros(4, 10)), "give three axes"),
        (lambda: tiny()(features(1, 3, 12, 8)), "positions are those of 8×12; resize"),
        (lambda: rollout(torch.zeros(3, 2, 5, 5)), "may be one map or many; stack"),
        (lambda: rollout([torch.zeros(3, 4, 5)]), r"shape \(3, 4, 5\); give b s n n"),
        (lambda: interpolate_positions(torch.zeros(1, 7, 5), (4, 4)), r"give grid=\(rows, columns\)"),
        (lambda: interpolate_positions(torch.zeros(1, 5, 5), (4, 4), method="cubic"), "use one of bicubic"),
    ],
)
def test_errors_name_the_value_and_the_cure(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
