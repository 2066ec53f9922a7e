"""What a forward pass keeps for the backward pass, counted by hand; and what counts as its time."""

import time

import pytest
import torch
from torch import nn

from course_lib.costs import kept_for_backward, milliseconds


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


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_the_shortest_run_counts():
    lengths = iter([0.09, 0.02, 0.09])
    assert 20 <= milliseconds(lambda: busy(next(lengths)), times=3) < 60


def test_waiting_is_no_work_and_no_gradient_is_kept():
    assert milliseconds(lambda: time.sleep(0.05)) < 30
    milliseconds(lambda: pytest.fail("it prepares a gradient") if torch.is_grad_enabled() else None)
    assert torch.is_grad_enabled()
