import pytest
import torch
from torch import Tensor

from course_lib.spatial.non_local import PAIRINGS, NonLocal, non_local_means, relu_read
from tests.properties import assert_same, features, randomise

SOFTMAX = ("gaussian", "embedded_gaussian")
SHAPES = {2: (3, 7, 5, 4), 3: (3, 7, 2, 5, 3)}


def block_and_input(pairing, **arguments):
    block = randomise(NonLocal(7, pairing=pairing, **arguments))
    return block, 0.5 * features(*SHAPES[block.dims])  # small logits: a softmax that is not one-hot


def cells(x: Tensor, side: int) -> list[Tensor]:
    """The maximum of each side × side window of c t h w, one vector of channels per window."""
    x = x if x.ndim == 4 else x[:, None]
    rows, columns = (range(0, size - side + 1, side) for size in x.shape[2:])
    return [f[:, i : i + side, j : j + side].amax((1, 2)) for f in x.unbind(1) for i in rows for j in columns]


def at(layer, vector: Tensor) -> Tensor:
    """A 1×1 convolution at one position."""
    return vector if isinstance(layer, torch.nn.Identity) else layer.weight.flatten(1) @ vector + layer.bias


def loop(block: NonLocal, x: Tensor, pool_input: bool, scaled: bool) -> Tensor:
    """y of the paper's equation, one query and one key at a time. Returns b d n."""
    result = []
    for sample in x:
        if pool_input:
            keys, values = ([at(f, v) for v in cells(sample, block.subsample)] for f in (block.key, block.value))
        else:
            keys, values = (cells(f(sample[None])[0], block.subsample) for f in (block.key, block.value))
        for vector in cells(sample, 1):
            query, y, normaliser = at(block.query, vector), 0, 0
            for key, value in zip(keys, values, strict=True):
                if block.pairing in SOFTMAX:
                    f = torch.exp(query @ key / (len(query) ** 0.5 if scaled else 1))
                    normaliser = normaliser + f
                elif block.pairing == "dot_product":
                    f, normaliser = query @ key, len(keys)
                else:
                    w_f = torch.cat([block.pair_query.weight, block.pair_key.weight], dim=1)[0]
                    f, normaliser = (w_f @ torch.cat([query, key])).clamp(min=0), len(keys)
                y = y + f * value
            result.append(y / normaliser)
    return torch.stack(result).unflatten(0, (len(x), -1)).mT


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"scaled": True},
        {"subsample": 2},
        {"subsample": 2, "pool_input": False},
        {"subsample": 2, "dims": 3, "scaled": True},
    ],
    ids=str,
)
def test_equals_the_double_loop(pairing, arguments):
    block, x = block_and_input(pairing, **arguments)
    y = loop(block, x, arguments.get("pool_input", True), arguments.get("scaled", False))
    assert_same(block(x), x + block.norm(block.output(y.unflatten(2, x.shape[2:]))))


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("arguments", [{}, {"subsample": 2, "pool_input": False}, {"dims": 3}], ids=str)
def test_forward_applies_attention(pairing, arguments):
    block, x = block_and_input(pairing, **arguments)
    _, _, value = block.embed(x)
    y = value @ block.attention(x).mT  # b d m, b m n -> b d n
    assert_same(block(x), x + block.norm(block.output(y.unflatten(2, x.shape[2:]))))


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_fast_gradients_are_those_of_the_map(pairing):
    block, x = block_and_input(pairing, subsample=2)
    x.requires_grad_()
    value = block.embed(x)[2]
    slow = value @ block.attention(x).mT
    slow = x + block.norm(block.output(slow.unflatten(2, x.shape[2:])))
    weight = features(*x.shape, seed=2)
    for fast, textbook in zip(
        *(torch.autograd.grad((out * weight).sum(), [x, *block.parameters()]) for out in (block(x), slow)),
        strict=True,
    ):
        assert_same(fast, textbook)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_starts_as_the_identity(pairing, dims):
    x = torch.randn(SHAPES[dims])
    assert torch.equal(NonLocal(7, pairing=pairing, dims=dims)(x), x)


@pytest.mark.parametrize("pairing", SOFTMAX)
def test_the_softmax_runs_over_the_keys(pairing):
    block, x = block_and_input(pairing, subsample=2)
    attention = block.attention(x)
    assert attention.shape == (3, 20, 4)
    assert_same(attention.sum(dim=2), torch.ones(3, 20).double())


@pytest.mark.parametrize("pairing", SOFTMAX)
def test_an_average_of_equal_values_is_that_value(pairing):
    block, x = block_and_input(pairing)
    torch.nn.init.zeros_(block.value.weight)
    constant = block.value.bias[:, None, None].expand(3, 3, 5, 4)
    assert_same(block(x), x + block.norm(block.output(constant)))


def test_scaling_divides_by_the_width_of_what_is_compared():
    for pairing, width in (("gaussian", 7), ("embedded_gaussian", 3)):
        (plain, x), (scaled, _) = block_and_input(pairing), block_and_input(pairing, scaled=True)
        query, key, _ = plain.embed(x)
        assert_same(scaled.attention(x), (query.mT @ key / width**0.5).softmax(-1))


def test_dot_product_doubles_with_the_keys_and_divides_by_their_number():
    block, x = block_and_input("dot_product", subsample=2)
    query, key, _ = block.embed(x)
    before = block.attention(x)
    assert_same(before, torch.einsum("bdn,bdm->bnm", query, key) / 4)
    block.key.weight.data *= 2
    block.key.bias.data *= 2
    assert_same(block.attention(x), 2 * before)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_positions_have_no_order(pairing):
    block, x = block_and_input(pairing)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))

    def shuffle(maps):
        return maps.flatten(2)[:, :, order].unflatten(2, (5, 4))

    assert_same(block(shuffle(x)), shuffle(block(x)))


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_video_is_an_image_with_more_positions(pairing):
    video, x = block_and_input(pairing, dims=3)
    image = randomise(NonLocal(7, pairing=pairing))
    image.load_state_dict({k: v.squeeze(-1) if v.ndim == 5 else v for k, v in video.state_dict().items()})
    assert_same(video(x).flatten(2, 3), image(x.flatten(2, 3)))


def test_subsampling_keeps_every_frame_and_drops_the_odd_row():
    block, x = block_and_input("embedded_gaussian", dims=3, subsample=2)
    assert block.attention(x).shape == (3, 2 * 5 * 3, 2 * 2 * 1)


@pytest.mark.parametrize("pairing", ["embedded_gaussian", "dot_product", "concatenation"])
def test_forward_keeps_no_map(pairing):
    sizes = []
    block, x = NonLocal(4, pairing=pairing), torch.randn(1, 4, 12, 11)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.untyped_storage().nbytes()) or t, id):
        block(x)
    assert max(sizes) < 132 * 132 * 4


def test_relu_sums_with_equal_keys_and_queries_on_the_edge():
    a, b = torch.tensor([[[0.0, 1.0, -2.0, -5.0]]]).double(), torch.tensor([[[2.0, -1.0, 2.0]]]).double()
    value = torch.tensor([[[1.0, 10.0, 100.0]]]).double()  # a_i + b_j is 0 for (1, -1) and (-2, 2)
    assert relu_read(a, b, value).tolist() == [[[202.0, 303.0, 0.0, 0.0]]]


def test_half_precision_sums_keep_their_digits():
    a, b, value = (torch.full((1, 1, n), v, dtype=torch.bfloat16) for n, v in ((1, 1), (1500, -127 / 128), (1500, 1)))
    assert relu_read(a, b, value).item() == 11.75  # 1500 / 128 to eight bits; 1500 − 1488.3 to eight bits is 16


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_half_precision_stays_half(pairing):
    x = torch.randn(2, 8, 5, 4, dtype=torch.bfloat16)
    assert NonLocal(8, pairing=pairing).bfloat16()(x).dtype == torch.bfloat16


@pytest.mark.parametrize(("channels", "parameters"), [(256, 132_224), (1024, 2_101_760)])
def test_has_the_published_number_of_parameters(channels, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in NonLocal(channels).parameters()) == parameters
        concatenation = NonLocal(channels, pairing="concatenation")
        assert sum(p.numel() for p in concatenation.parameters()) == parameters + channels  # w_f
        assert len(list(NonLocal(channels, pairing="gaussian").parameters())) == 6  # g, W_z, norm


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"pairing": "softmax"}, "use one of gaussian"),
        ({"channels": 1}, "channels >= 2"),
        ({"dims": 4}, "dims 1, 2 or 3"),
        ({"subsample": 0}, "subsample >= 1"),
    ],
    ids=str,
)
def test_refuses_in_words(arguments, cure):
    with pytest.raises(ValueError, match=cure):
        NonLocal(arguments.pop("channels", 8), **arguments)


def test_refuses_a_map_without_keys():
    with pytest.raises(ValueError, match="use subsample <= 2"):
        NonLocal(7, subsample=3)(torch.randn(1, 7, 5, 2))
    with pytest.raises(ValueError, match="b c t h w"):
        NonLocal(7, dims=3)(torch.randn(1, 7, 5, 2))


@pytest.mark.parametrize("pairing", ["embedded_gaussian", "concatenation"])
def test_a_sequence_is_a_picture_of_one_row(pairing):
    line, x = randomise(NonLocal(7, dims=1, subsample=1, pairing=pairing)), features(3, 7, 6)
    picture = randomise(NonLocal(7, pairing=pairing), seed=3)
    picture.load_state_dict(
        {name: tensor[..., None] if tensor.ndim == 3 else tensor for name, tensor in line.state_dict().items()}
    )
    assert_same(line(x), picture(x[:, :, None])[:, :, 0])
    assert NonLocal(7, dims=1, subsample=2).attention(x.float()).shape == (3, 6, 3)


def test_as_released_logits_are_scaled_and_convolutions_start_small():
    torch.manual_seed(0)
    block = NonLocal(64, released=True)
    assert block.scale == 32**-0.5 and abs(block.query.weight.std() - 0.01) < 0.001 and (block.key.bias == 0).all()
    assert NonLocal(64, released=True, scaled=False).scale == NonLocal(64).scale == 1


def test_without_a_norm_w_z_starts_at_zero():
    block, x = NonLocal(8, norm=False, hidden=3).double(), features(3, 8, 5, 7)
    assert torch.equal(block(x), x) and block.value.weight.shape == (3, 8, 1, 1)
    block(x).square().sum().backward()
    assert block.output.weight.grad.abs().max() > 0


# Non-local means


def nearest(pixel: int, size: int) -> int:
    return min(max(pixel, 0), size - 1)


def test_non_local_means_equals_the_double_loop():
    image, h, w, bandwidth = features(2, 4, 6), 4, 6, 0.9
    pixels = [(i, j) for i in range(h) for j in range(w)]
    patches = {
        (i, j): torch.stack(
            [image[:, nearest(i + k, h), nearest(j + m, w)] for k in range(-1, 2) for m in range(-1, 2)]
        )
        for i, j in pixels
    }
    expected = torch.empty_like(image)
    for i, j in pixels:
        near = [(k, m) for k, m in pixels if abs(k - i) <= 2 and abs(m - j) <= 2]
        weights = [torch.exp(-(patches[i, j] - patches[p]).square().mean() / bandwidth**2) for p in near]
        expected[:, i, j] = sum(v * image[:, k, m] for v, (k, m) in zip(weights, near, strict=True)) / sum(weights)
    assert_same(non_local_means(image, patch_size=3, window_size=5, bandwidth=bandwidth), expected)


def test_non_local_means_lies_between_the_image_and_its_mean():
    image = features(2, 5, 4)
    everywhere = {"patch_size": 3, "window_size": 99}
    assert_same(non_local_means(image, bandwidth=1e-3, **everywhere), image)
    mean = image.mean(dim=(1, 2), keepdim=True).expand(2, 5, 4)
    assert_same(non_local_means(image, bandwidth=1e6, **everywhere), mean)


def test_non_local_means_borrows_from_repeats_far_away():
    clean = (torch.arange(24) % 6 < 3).double().expand(1, 24, 24)
    noisy = clean + 0.1 * features(1, 24, 24)
    near, far = (non_local_means(noisy, window_size=size, bandwidth=0.2) for size in (3, 21))
    errors = [float((u - clean).square().mean()) for u in (noisy, near, far)]
    assert errors[0] > 1.5 * errors[1] > 3 * errors[2]


def test_non_local_means_does_not_know_brightness_or_left_from_right():
    image, options = features(3, 6, 7), {"patch_size": 3, "window_size": 5, "bandwidth": 1.0}
    assert_same(non_local_means(image + 3, **options), non_local_means(image, **options) + 3)
    assert_same(non_local_means(image.flip(2), **options), non_local_means(image, **options).flip(2))
    assert_same(non_local_means(image.mT, **options), non_local_means(image, **options).mT)


def test_non_local_means_on_one_row():
    assert non_local_means(features(1, 1, 9)).shape == (1, 1, 9)


@pytest.mark.parametrize("wrong", [{"patch_size": 4}, {"window_size": 2}, {"bandwidth": 0.0}], ids=str)
def test_non_local_means_refuses_in_words(wrong):
    with pytest.raises(ValueError, match="use odd sizes"):
        non_local_means(features(1, 5, 5), **wrong)
    with pytest.raises(ValueError, match="one float image"):
        non_local_means(features(1, 1, 5, 5))
