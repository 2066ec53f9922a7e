import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal

from course_lib.spatial.glimpse import (
    Episode,
    GlimpseNetwork,
    RecurrentAttention,
    crop,
    gaussian_log_prob,
    hybrid_loss,
    retina,
)
from tests.properties import assert_same, features, randomise


def seen_by_loop(images, location, size, scales):
    """The retina pixel by pixel: which pixels lie in each cell, and their mean."""
    b, c, h, w = images.shape
    out = images.new_zeros(b, scales * c, size, size)
    for n in range(b):
        for k in range(scales):
            f = 2**k
            left = math.floor((location[n, 0].item() + 1) / 2 * w - (size * f - 1) / 2)
            top = math.floor((location[n, 1].item() + 1) / 2 * h - (size * f - 1) / 2)
            for i in range(size * f):
                for j in range(size * f):
                    if 0 <= top + i < h and 0 <= left + j < w:
                        pixel = images[n, :, top + i, left + j]
                        out[n, k * c : (k + 1) * c, i // f, j // f] += pixel / f**2
    return out


def places(*shape, seed=2):
    return 2 * torch.rand(*shape, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def model(core="ram", first=None, **arguments):
    torch.manual_seed(0)
    sizes = {"glimpses": 4, "size": 5, "scales": 2, "hidden_dim": 11, "glimpse_dim": 7}
    ram = randomise(RecurrentAttention(3, 5, core=core, first=first, **sizes, **arguments))
    for name, parameter in ram.named_parameters():
        parameter.data *= 0.02 if name == "locate.weight" else 0.5  # so that most means lie inside the image
    return ram


CORES = ["ram", "gru", "dram"]
IMAGES = features(3, 3, 13, 17)
LABELS = torch.tensor([4, 0, 2])


@pytest.mark.parametrize("size", [1, 4, 5])
@pytest.mark.parametrize("height, width", [(13, 17), (12, 9), (1, 6)])
def test_retina_equals_the_loop_over_pixels(size, height, width):
    images = features(4, 3, height, width)
    location = torch.cat([places(3), torch.tensor([[1.0, -1.0]], dtype=torch.float64)])
    assert_same(retina(images, location, size, 3), seen_by_loop(images, location, size, 3))


def test_retina_at_the_middle_is_the_middle():
    image = torch.zeros(1, 1, 7, 11)
    image[0, 0, 3, 5] = 1
    expected = torch.zeros(1, 1, 5, 5)
    expected[0, 0, 2, 2] = 1
    assert torch.equal(retina(image, torch.zeros(1, 2), 5, 1), expected)


def test_retina_moves_right_with_x_and_down_with_y():
    row, column = torch.meshgrid(torch.arange(9.0), torch.arange(15.0), indexing="ij")
    image = torch.stack([column, row])[None]
    middle = retina(image, torch.zeros(1, 2), 3, 1)
    right = retina(image, torch.tensor([[2 * 2 / 15, 0.0]]), 3, 1)  # two pixels
    below = retina(image, torch.tensor([[0.0, 2 * 1 / 9]]), 3, 1)  # one pixel
    assert torch.equal(right - middle, torch.tensor([2.0, 0.0])[None, :, None, None].expand_as(middle))
    assert torch.equal(below - middle, torch.tensor([0.0, 1.0])[None, :, None, None].expand_as(middle))


def test_retina_reads_zeros_beyond_the_border():
    patch = retina(torch.ones(1, 1, 8, 8), torch.tensor([[1.0, 1.0]]), 4, 1)[0, 0]
    assert patch.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_coarse_patch_is_the_pooled_crop():
    images, location = features(3, 2, 30, 41), places(3) / 4
    assert_same(retina(images, location, 5, 3)[:, 4:], F.avg_pool2d(crop(images, location, 20), 4))


def test_retina_sends_no_gradient_to_the_location():
    location = places(3).requires_grad_()
    patches = retina(IMAGES.requires_grad_(), location, 4, 2)
    patches.square().sum().backward()
    assert location.grad is None or location.grad.abs().max() == 0
    IMAGES.requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_images_are_cut_at_the_same_pixels(dtype):
    images, location = features(3, 1, 300, 400).to(dtype), places(3)
    expected = retina(images.double(), location, 6, 1)
    assert torch.equal(retina(images, location, 6, 1), expected.to(dtype))


def test_every_image_has_its_own_glimpse():
    location = places(3)
    alone = torch.cat([retina(IMAGES[i : i + 1], location[i : i + 1], 5, 2) for i in range(3)])
    assert torch.equal(retina(IMAGES, location, 5, 2), alone)


def test_glimpse_network_adds_in_ram_and_multiplies_in_dram():
    for combine in ("sum", "product"):
        network = randomise(GlimpseNetwork(3, 5, scales=2, combine=combine, hidden=7, output_dim=11))
        location = places(3)
        what, where = network.image(retina(IMAGES, location, 5, 2)), network.location(location)
        expected = what * where if combine == "product" else (what + where).clamp(min=0)
        assert_same(network(IMAGES, location), expected)


def test_a_zero_location_path_silences_the_product():
    network = GlimpseNetwork(3, 5, combine="product", hidden=7, output_dim=11).double()
    torch.nn.init.zeros_(network.location[0].weight)
    torch.nn.init.zeros_(network.location[0].bias)
    assert network(IMAGES, places(3)).abs().max() == 0


def test_log_probability_is_the_normal_one_summed_over_x_and_y():
    location, mean = places(3), places(3, seed=3)
    assert_same(gaussian_log_prob(location, mean, 0.2), Normal(mean, 0.2).log_prob(location).sum(-1))


def test_ram_equals_its_equations():
    ram = model(first="centre")
    cell, place, h = ram.core.cell, torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, 11, dtype=torch.float64)
    for t in range(4):
        if t:
            place = (h @ ram.locate.weight.T + ram.locate.bias).clamp(-1, 1)
        assert_same(ram.episode(IMAGES).locations[:, t], place)
        g = ram.glimpse(IMAGES, place)
        h = (g @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh).clamp(min=0)
    assert_same(ram(IMAGES), h @ ram.classify.weight.T + ram.classify.bias)


def test_dram_equals_its_equations():
    dram = model("dram")
    zero = torch.zeros(3, 11, dtype=torch.float64)
    lower, upper = (zero, zero), (dram.core.context(F.adaptive_avg_pool2d(IMAGES, 5)), zero)
    for t in range(4):
        place = dram.locate(upper[0]).clamp(-1, 1)
        assert_same(dram.attention(IMAGES)[:, t], place)
        lower = dram.core.lower(dram.glimpse(IMAGES, place), lower)
        upper = dram.core.upper(lower[0], upper)
        assert_same(dram.episode(IMAGES).logits[:, t], dram.classify(lower[0]))


@pytest.mark.parametrize("core", CORES)
def test_forward_looks_where_attention_says(core):
    ram = model(core)
    locations = ram.attention(IMAGES)
    assert locations.shape == (3, 4, 2)
    assert (locations[:, 1:].abs() < 1).double().mean() > 0.5
    assert_same(ram(IMAGES), ram(IMAGES, locations))
    assert_same(ram(IMAGES)[1:2], ram(IMAGES[1:2]))
    assert not torch.allclose(ram(IMAGES), ram(IMAGES, places(3, 4)))


@pytest.mark.parametrize("core", CORES)
def test_gradients_along_a_given_path_are_those_of_finite_differences(core):
    ram, path = model(core), places(3, 4)
    assert torch.autograd.gradcheck(lambda x: ram(x, path), IMAGES.clone().requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("core", CORES)
def test_choosing_traces_whole(core):
    ram = model(core)
    torch._dynamo.reset()
    assert_same(torch.compile(ram, fullgraph=True, backend="eager")(IMAGES), ram(IMAGES))


def test_log_probability_is_that_of_the_place_as_drawn_and_not_as_clipped():
    ram = model(std=0.5).train()
    torch.nn.init.constant_(ram.locate.bias, 1.0)  # many draws fall beyond the border
    torch.nn.init.zeros_(ram.locate.weight)
    episode = ram.episode(features(200, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    clipped = (episode.locations[:, 1:] == 1).all(-1)
    assert clipped.sum() > 50
    at_the_border = gaussian_log_prob(torch.ones(2), torch.ones(2), 0.5)
    below = at_the_border - episode.log_prob[:, 1:][clipped]  # half a χ² with two degrees of freedom: mean 1
    torch.testing.assert_close(below.mean().item(), 1.0, atol=0.3, rtol=0)


def test_given_places_are_taken_as_drawn_too():
    ram, far = model(), places(3, 4) * 2
    episode = ram.episode(IMAGES, far)
    assert_same(episode.locations, far.clamp(-1, 1))
    mean = ram.locate(ram.core(ram.glimpse(IMAGES, far[:, 0].clamp(-1, 1)), ram.core.start(IMAGES)))
    assert_same(episode.log_prob[:, 1], Normal(mean, ram.std).log_prob(far[:, 1]).sum(-1))


def test_places_are_drawn_around_the_mean_in_training_only():
    ram = model(std=0.1)
    torch.nn.init.zeros_(ram.locate.weight)
    ram.locate.bias.data = torch.tensor([0.3, -0.2], dtype=torch.float64)
    assert_same(ram.attention(IMAGES)[:, 1:], ram.locate.bias.expand(3, 3, 2))
    drawn = ram.train().episode(features(2000, 3, 6, 6), generator=torch.Generator().manual_seed(0)).locations[:, 1:]
    torch.testing.assert_close(drawn.mean((0, 1)), ram.locate.bias.data, atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.flatten(0, 1).std(0), torch.full((2,), 0.1).double(), atol=0.01, rtol=0)


@pytest.mark.parametrize("first, spread", [("centre", 0.0), ("random", 1 / math.sqrt(3))])
def test_the_first_glimpse_falls_where_it_is_told_and_is_never_rewarded(first, spread):
    ram = model(first=first)
    episode = ram.episode(features(4000, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(episode.locations[:, 0].std().item(), spread, atol=0.01, rtol=0)
    assert episode.locations[:, 0].abs().max() <= 1
    assert episode.log_prob[:, 0].abs().max() == 0


def test_only_the_place_before_the_last_glimpse_is_drawn():
    assert model().train().episode(IMAGES).log_prob.shape == (3, 4)
    one = RecurrentAttention(3, 5, glimpses=1).double()
    assert not one.episode(IMAGES).log_prob.requires_grad or one.episode(IMAGES).log_prob.abs().max() == 0


ROUTES = {  # which loss trains which part; everything else gets nothing
    "ram": {
        "classification": {"glimpse", "core.cell", "classify"},
        "baseline": {"expect"},
        "policy": {"locate"},
    },
    "dram": {
        "classification": {"glimpse", "core.lower", "classify"},
        "baseline": {"expect"},
        "policy": {"locate", "core.upper", "core.context"},
    },
}


@pytest.mark.parametrize("core", ROUTES)
@pytest.mark.parametrize("term", ["classification", "baseline", "policy"])
def test_each_loss_trains_its_own_part(core, term):
    ram = model(core).train()
    loss = getattr(hybrid_loss(ram.episode(IMAGES), LABELS, torch.tensor([1.0, 0.0, 1.0])), term)
    loss.backward()
    reached = {name for name, p in ram.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    wanted = {name for name, _ in ram.named_parameters() if name.startswith(tuple(ROUTES[core][term]))}
    assert reached == wanted


@pytest.mark.parametrize("core", CORES)
def test_no_loss_reaches_a_choice_through_the_mean_either(core):
    ram = model(core).eval()
    ram(IMAGES).sum().backward()
    assert ram.locate.weight.grad is None or ram.locate.weight.grad.abs().max() == 0


def test_the_classifier_of_dram_never_sees_the_context():
    dram, path = model("dram"), places(3, 4)
    before = dram.episode(IMAGES, path)
    torch.nn.init.zeros_(dram.core.context[-2].weight)
    after = dram.episode(IMAGES, path)
    assert torch.equal(before.logits, after.logits)
    assert not torch.allclose(before.log_prob[:, 0], after.log_prob[:, 0])


def toy_episode():
    log_prob, baseline = features(3, 4, seed=5).requires_grad_(), features(3, 4, seed=6).requires_grad_()
    return Episode(places(3, 4), log_prob, baseline, features(3, 4, 5, seed=7))


def test_hybrid_loss_equals_its_formula():
    episode, total = toy_episode(), 0.0
    for n in range(3):
        last = episode.logits[n, -1]
        reward = float(last.argmax() == LABELS[n])
        total -= last.log_softmax(0)[LABELS[n]] / 3
        for t in range(4):
            advantage = reward - episode.baseline[n, t]
            total += advantage**2 / 12 - episode.log_prob[n, t] * advantage / 3
    assert_same(sum(hybrid_loss(episode, LABELS)), total)


def test_the_policy_term_leaves_the_baseline_alone():
    episode = toy_episode()
    policy = hybrid_loss(episode, LABELS).policy
    (gradient,) = torch.autograd.grad(policy, episode.baseline, allow_unused=True)
    assert gradient is None


def test_reward_and_baseline_count_only_by_their_difference():
    episode, reward = toy_episode(), features(3, seed=8)
    shifted = episode._replace(baseline=episode.baseline + 2)
    assert_same(hybrid_loss(shifted, LABELS, reward + 2).policy, hybrid_loss(episode, LABELS, reward).policy)


def test_a_step_makes_rewarded_choices_likelier():
    episode = toy_episode()._replace(baseline=torch.zeros(3, 4, dtype=torch.float64))
    hybrid_loss(episode, LABELS, torch.ones(3).double()).policy.backward()
    assert (episode.log_prob.grad < 0).all()


def test_each_choice_may_earn_its_own_reward():
    episode = toy_episode()._replace(baseline=torch.zeros(3, 4, dtype=torch.float64))
    reward = features(3, 4, seed=8).requires_grad_()
    loss = hybrid_loss(episode, LABELS, reward)
    assert_same(loss.policy, -(episode.log_prob * reward).sum() / 3)
    assert not loss.baseline.requires_grad  # no gradient through the reward


def test_reinforce_points_where_the_expected_reward_grows():
    """One choice of reward −‖l − target‖², in the mean −‖μ − target‖² − 2σ²: dJ/dμ = −2(μ − target)."""
    mean = torch.tensor([0.1, -0.2], dtype=torch.float64).requires_grad_()
    target = torch.tensor([0.4, 0.3], dtype=torch.float64)
    noise = features(200_000, 2)
    drawn = (mean + 0.3 * noise).detach()
    reward = -(drawn - target).square().sum(-1)
    log_prob = gaussian_log_prob(drawn, mean, 0.3)[:, None]
    baseline = torch.full_like(log_prob, reward.mean().item())
    episode = Episode(drawn[:, None], log_prob, baseline, torch.zeros(200_000, 1, 2, dtype=torch.float64))
    hybrid_loss(episode, torch.zeros(200_000, dtype=torch.long), reward).policy.backward()
    torch.testing.assert_close(-mean.grad, -2 * (mean.detach() - target), atol=0.02, rtol=0)


def test_parameter_count_of_the_mnist_model():
    sizes = {"g": 8, "k": 1, "C": 1, "K": 10}  # card: 209 677
    g, k, c, classes = sizes.values()
    glimpse = (k * c * g**2 * 128 + 128) + (2 * 128 + 128) + 2 * (128 * 256 + 256)
    heads = (256 * classes + classes) + (256 * 2 + 2) + (256 + 1)
    assert glimpse + 2 * (256 * 256 + 256) + heads == 209_677
    assert sum(p.numel() for p in RecurrentAttention(1, 10).parameters()) == 209_677


@pytest.mark.parametrize(
    "wrong",
    [{"core": "lstm"}, {"first": "left"}, {"std": 0.0}, {"glimpses": 0}],
)
def test_impossible_arguments_are_named(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        RecurrentAttention(1, 10, **wrong)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"give floats of \(3, 4, 2\)"):
        model()(IMAGES, places(3, 3))
    with pytest.raises(ValueError, match="use 1 or more"):
        retina(IMAGES, places(3), 0, 1)
    with pytest.raises(ValueError, match=r"give floats of \(3, 2\)"):
        retina(IMAGES, places(1), 4, 1)
    with pytest.raises(ValueError, match='use "sum"'):
        GlimpseNetwork(1, 8, combine="concat")


@pytest.mark.parametrize("wrong", [19.0, -5.5, float("nan"), float("inf")])
def test_places_in_pixels_are_refused(wrong):
    given = places(3, 4)
    given[1, 2, 0] = wrong
    for look in (model().episode, model().attention, model(), lambda x, at: retina(x, at[:, 2], 4, 1)):
        with pytest.raises(ValueError, match=f"coordinate {wrong:.4g}; give"):
            look(IMAGES, given)
    with pytest.raises(ValueError, match=r"dtype torch\.int64; give floats"):
        model()(IMAGES, places(3, 4).long())


def test_a_place_drawn_beyond_the_border_may_be_given_again():
    given = places(3, 4)
    given[1, 2, 0] = 1.4
    assert model().episode(IMAGES, given).locations[1, 2, 0] == 1


@pytest.mark.parametrize("core", CORES)
def test_an_empty_batch_has_an_empty_episode(core):
    episode = model(core).train().episode(IMAGES[:0])
    assert [tuple(field.shape) for field in episode] == [(0, 4, 2), (0, 4), (0, 4), (0, 4, 5)]


@pytest.mark.parametrize("core", CORES)
def test_choosing_runs_under_bfloat16_autocast(core):
    with torch.autocast("cpu", torch.bfloat16):
        ram = model(core).float().train()
        assert all(field.isfinite().all() for field in ram.episode(IMAGES.float()))
