import copy

import pytest
import torch
from torch import nn

from course_lib.basics.multi_head import MultiHeadAttention
from course_lib.catalog import CATALOG
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.models import small_vit
from course_lib.recording import record_attention
from tests.properties import features


class Noisy(nn.Module):
    """A map that depends on chance, on running statistics, and on the call."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def attention(self, x):
        return torch.rand(x.shape[0]) + self.norm(x).mean((1, 2, 3))

    def forward(self, x):
        return x * self.attention(x)[:, None, None, None]


def test_maps_are_those_of_each_module_in_order():
    model = nn.Sequential(SqueezeExcitation(6, reduction=2), nn.ReLU(), SqueezeExcitation(6, reduction=3)).double()
    x = features(3, 6, 5, 7)
    with record_attention(model) as maps:
        model(x)
        model(-x)
    assert list(maps) == ["0", "2"] and [len(m) for m in maps.values()] == [2, 2]
    assert torch.equal(maps["0"][0], model[0].attention(x))
    assert torch.equal(maps["2"][1], model[2].attention(model[0](-x).relu()))


def test_a_map_that_forward_never_builds_is_recorded():
    model = MultiHeadAttention(12, 3).double()
    x, memory = features(2, 5, 12), features(2, 7, 12)
    with record_attention(model) as maps:
        model(x, memory=memory)
    assert maps[""][0].shape == (2, 3, 5, 7)


def test_a_module_inside_another_is_recorded_once_for_each_call():
    model = small_vit(8, 2).double().eval()
    with record_attention(model) as maps:
        model(features(2, 1, 8, 8))
    assert {name: len(recorded) for name, recorded in maps.items()} == {"": 1, "blocks.0": 1, "blocks.1": 1}
    assert torch.equal(maps[""][0][1], maps["blocks.1"][0])


def test_the_model_and_chance_are_what_they_would_have_been():
    model = nn.Sequential(Noisy(), nn.Dropout(0.5), Noisy()).double().train()
    twin = copy.deepcopy(model)
    x = features(3, 4, 5, 7)
    torch.manual_seed(0)
    with record_attention(model) as maps:
        output = model(x)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(twin(x), output) and torch.equal(torch.rand(3), drawn)
    for (name, value), other in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    assert torch.allclose(output.abs().sum((1, 2, 3)) > 0, torch.ones(3, dtype=torch.bool))
    torch.manual_seed(0)
    assert torch.equal(maps["0"][0], copy.deepcopy(model[0]).attention(x).detach())


def test_no_hook_is_left_behind_even_after_an_error():
    model = nn.Sequential(SqueezeExcitation(6, reduction=2))
    with pytest.raises(ValueError), record_attention(model):
        model(torch.zeros(1, 5, 3, 3))
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_every_mechanism_can_be_recorded_inside_a_model(row):
    torch.manual_seed(0)
    model = nn.ModuleDict({"inner": row.build(*row.size, **row.small)}).double()
    inputs = [features(*shape, seed=i) for i, shape in enumerate(row.inputs(2, *row.size))]
    with record_attention(model) as maps:
        model["inner"](*inputs)
    assert len(maps["inner"]) == 1
