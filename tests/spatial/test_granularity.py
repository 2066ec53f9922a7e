import pytest
import torch
from torch import nn

from course_lib.spatial.granularity import GranularityDescriptors, sliding_windows
from tests.properties import assert_same, features, randomise

X = features(3, 2, 5, 7)
WIDTHS = (4, 3, 6)


def network(outputs):
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(12, outputs))


def model():
    mgd = GranularityDescriptors(
        [network(classes) for classes in (2, 3, 5)], [network(d) for d in WIDTHS], size=3, stride=2
    )
    return randomise(mgd)


def test_equals_the_loop_over_windows():
    mgd = model()
    for b in range(3):
        z, chosen = [], []
        for detect, describe in zip(mgd.detectors, mgd.descriptors, strict=True):
            crops = [X[b : b + 1, :, i : i + 3, j : j + 3] for i in (0, 2) for j in (0, 2, 4)]
            surest = [max((detect(crop)[0].exp() / detect(crop)[0].exp().sum()).tolist()) for crop in crops]
            chosen.append(surest.index(max(surest)))
            z.append(describe(crops[chosen[-1]])[0])
        assert mgd.attention(X)[b].tolist() == chosen
        assert_same(mgd(X)[b], torch.cat(z))


def test_forward_applies_attention():
    mgd, windows = model(), sliding_windows(X, 3, 2)
    choice = mgd.attention(X)
    assert mgd(X).shape == (3, sum(WIDTHS)) and len(choice.unique()) > 1
    parts = mgd(X).split(WIDTHS, dim=1)
    for g in range(3):
        chosen = torch.stack([windows[b, choice[b, g]] for b in range(3)])
        assert_same(parts[g], mgd.descriptors[g](chosen))


def test_one_levels_detector_moves_only_its_own_part():
    mgd = model()
    before = mgd(X).split(WIDTHS, dim=1)
    last = mgd.detectors[2][-1]
    last.weight.data = -last.weight.data[:1].expand(5, -1) * torch.arange(5.0)[:, None]
    after = mgd(X).split(WIDTHS, dim=1)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
    assert not torch.equal(before[2], after[2])


def test_choosing_has_no_gradient():
    mgd = model()
    mgd(X).sum().backward()
    assert [name for name, p in mgd.detectors.named_parameters() if p.grad is not None] == []
    assert [name for name, p in mgd.descriptors.named_parameters() if p.grad is None] == []


def test_every_network_is_part_of_the_module():
    mgd = model()
    assert {name.split(".")[0] for name, _ in mgd.named_parameters()} == {"detectors", "descriptors"}
    assert len({name.split(".")[1] for name, _ in mgd.named_parameters()}) == 3


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="2 detectors and 1 descriptors"):
        GranularityDescriptors([network(2), network(3)], [network(4)], size=3, stride=2)
    with pytest.raises(ValueError, match="size=6 and stride=2"):
        sliding_windows(X, 6, 2)


def test_an_empty_batch_stays_empty():
    assert model()(X[:0]).shape == (0, sum(WIDTHS))
