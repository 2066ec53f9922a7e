import math

import pytest
import torch

from course_lib.branch.gater import Gater, improved_semhash
from tests.properties import assert_same, features, randomise


def soft_gate(z):
    return (1.2 / (1 + (-z).exp()) - 0.1).clamp(0, 1)


def normalise(values, norm):
    shape = (-1,) + (1,) * (values.ndim - 1)
    mean, var, weight, bias = (t.view(shape) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return ((values - mean) / (var + norm.eps).sqrt() * weight + bias).clamp(min=0)


def test_equals_the_loop():
    gater = randomise(Gater(3, 11, feature_dim=5, hidden=4))
    image, maps = features(3, 3, 9, 7), features(3, 11, 5, 6, seed=2)
    expected = torch.empty_like(maps)
    for b in range(3):
        f = image[b]
        for conv, norm in (gater.extract[:2], gater.extract[3:5]):
            h, w = (f.shape[1] + 1) // 2, (f.shape[2] + 1) // 2
            padded = torch.nn.functional.pad(f, [1] * 4)
            rows = [
                [(conv.weight * padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]).sum(dim=(1, 2, 3)) for j in range(w)]
                for i in range(h)
            ]
            f = normalise(torch.stack([torch.stack(row, dim=1) for row in rows], dim=1), norm)
        hidden = normalise(gater.decide[0].weight @ f.flatten(1).mean(dim=1), gater.decide[1])
        logits = gater.decide[3].weight @ hidden
        expected[b] = torch.stack([maps[b, i] if logits[i] > 0 else 0 * maps[b, i] for i in range(11)])
    assert_same(gater(image, maps), expected)


def test_forward_applies_attention():
    gater, image, maps = randomise(Gater(3, 11)), features(3, 3, 9, 7), features(3, 11, 5, 6, seed=2)
    assert_same(gater(image, maps), gater.attention(image)[:, :, None, None] * maps)


def test_evaluation_is_binary_and_has_no_noise():
    logits = features(40, 11).requires_grad_()
    gates = improved_semhash(logits, training=False)
    assert_same(gates, (logits > 0).double())
    assert not gates.requires_grad


def test_training_passes_soft_gates_for_half_of_the_samples_and_hard_ones_for_the_others():
    logits = features(2000, 7)
    gates = improved_semhash(logits, generator=torch.Generator().manual_seed(0))
    hard = ((gates == 0) | (gates == 1)).all(dim=1)
    assert 0.45 < hard.double().mean() < 0.55
    noisy = logits + torch.randn(2000, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_same(gates[~hard], soft_gate(noisy)[~hard])
    assert_same(gates[hard], (noisy > 0)[hard].double())


def test_the_gradient_is_that_of_the_soft_gates_for_every_sample():
    logits = features(50, 7).requires_grad_()
    improved_semhash(logits, generator=torch.Generator().manual_seed(0)).sum().backward()
    noise = torch.randn(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    again = logits.detach().clone().requires_grad_()
    soft_gate(again + noise).sum().backward()
    assert_same(logits.grad, again.grad)
    settled = (logits.detach() + noise).abs() > math.log(11)
    assert settled.any() and (logits.grad[settled] == 0).all()


def test_a_seed_repeats_the_noise():
    generators = (torch.Generator().manual_seed(seed) for seed in (0, 0, 1))
    one, two, other = (improved_semhash(features(9, 7), generator=generator) for generator in generators)
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_training_is_noisy_and_evaluation_is_not():
    gater, image = randomise(Gater(3, 11)), features(3, 3, 9, 7)
    assert torch.equal(gater.attention(image), gater.attention(image))
    gater.train()
    torch.manual_seed(0)
    assert not torch.equal(gater.attention(image), gater.attention(image))


def test_gates_of_several_layers_split():
    gater, image = randomise(Gater(3, 48)), features(3, 3, 9, 7)
    assert [gates.shape[1] for gates in gater.attention(image).split([16, 32], dim=1)] == [16, 32]


def test_refuses_other_batches():
    gater = Gater(3, 11).double().eval()
    with pytest.raises(ValueError, match="3 images and features of 1"):
        gater(features(3, 3, 9, 7), features(1, 11, 5, 6))
    with pytest.raises(ValueError, match="channels=11"):
        gater(features(3, 3, 9, 7), features(3, 1, 5, 6))
