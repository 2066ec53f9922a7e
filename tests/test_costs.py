"""What a forward pass keeps for the backward pass, counted by hand."""

import pytest
import torch
from torch import nn

from course_lib.costs import kept_for_backward


def features(*shape: int, device: str = "cpu") -> torch.Tensor:
    return torch.ones(shape, device=device, requires_grad=True)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_map_is_kept_once_though_two_steps_need_it(device):
    def look_up(query, key, value):
        return (query @ key.mT).softmax(dim=1) @ value

    query, key, value = features(5, 3, device=device), features(7, 3, device=device), features(7, 2, device=device)
    assert kept_for_backward(look_up, query, key, value) == 5 * 7 * 4


def test_inputs_parameters_and_their_views_are_there_anyway():
    assert kept_for_backward(nn.Linear(3, 2), features(5, 3)) == 0
    assert kept_for_backward(lambda x: x[1:] * x[:-1].mT, features(3, 3)[:, :2]) == 0


def test_what_was_freed_is_counted_though_its_address_is_given_again():
    layers = nn.Sequential(*[nn.Sigmoid() for _ in range(9)])
    assert kept_for_backward(layers, features(2, 3)) == 9 * 6 * 4
