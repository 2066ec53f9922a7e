"""The five tasks of lesson 19: what stands in their slots, what they ask, and the stored table."""

import json

import pytest
import torch

from benchmarks.tasks import FILE, NAMES
from course_lib.catalog import CATALOG
from course_lib.comparison.construction import across, crossing, some_image, wide_awake
from course_lib.comparison.slot import LEFT_OUT, RIVALS, fill
from course_lib.comparison.tasks import TASKS, explained, salient, shift, smooth
from course_lib.costs import multiply_adds
from course_lib.data.digits import load_digits


def filled(task: str, name: str):
    try:
        return fill(name, *TASKS[task].size)
    except ValueError:
        return None


@pytest.mark.parametrize("name", NAMES)
def test_a_mechanism_fits_into_a_slot_and_keeps_its_shape(name):
    slots = {task: filled(task, name) for task in TASKS}
    assert any(slots.values()), "then it belongs into LEFT_OUT"
    for task, slot in slots.items():
        x = torch.randn(2, *TASKS[task].size)
        assert slot is None or slot(x).shape == x.shape, task


def test_every_row_of_the_catalogue_is_compared_or_left_out_with_a_reason():
    assert {row.name for row in CATALOG} == set(NAMES) - set(RIVALS) | set(LEFT_OUT)
    with pytest.raises(ValueError, match="writes words"):
        fill("ShowAttendTellCell", 16, 4, 12)


def test_a_mechanism_that_does_not_exist_at_a_size_says_so_before_it_is_trained():
    with pytest.raises(ValueError, match="1×8 cannot be reflected"):
        fill("PairwiseVectorAttention", *TASKS["salient frame"].size)
    assert fill("NonLocal", 8, 1, 8).training


@pytest.mark.parametrize("task", TASKS)
def test_a_network_takes_what_its_task_gives(task):
    one = TASKS[task]
    inputs, targets = one.data(5, 0, False)
    again, _ = one.data(5, 0, False)
    others, _ = one.data(5, 1, True)
    assert torch.equal(inputs, again) and not torch.equal(inputs, others)
    outputs = one.network(torch.nn.Identity())(inputs)
    assert (len(outputs) == len(targets) and outputs.shape[2:] == targets.shape[1:]) or outputs.shape == targets.shape


def test_the_bright_frame_is_a_digit_with_the_films_label():
    films, labels = salient(7, 3, True)
    frames = films[:, :, 0].mT  # b t 64
    brightest = frames[torch.arange(7), frames.amax(dim=2).argmax(dim=1)]
    digits = load_digits()
    known = digits.test_images.flatten(1)
    found = digits.test_labels[torch.cdist(brightest, known).argmin(dim=1)]
    assert torch.equal(found, labels) and torch.cdist(brightest, known).min(dim=1).values.max() < 1e-5


def test_the_pattern_is_read_four_rows_below_times_the_cue():
    inputs, targets = shift(3, 0, False)
    pattern, cue = inputs.unbind(dim=1)
    image, row, column = (cue == 1).nonzero()[(cue == 1).nonzero()[:, 1] < 12].T
    torch.testing.assert_close(targets[image, 0, row, column], pattern[image, row + 4, column])
    image, row, column = (cue == -1).nonzero()[(cue == -1).nonzero()[:, 1] >= 4].T
    torch.testing.assert_close(targets[image, 0, row, column], pattern[image, row - 4, column])


def test_smooth_patterns_have_deviation_one():
    assert smooth(50, torch.Generator().manual_seed(0)).std().item() == pytest.approx(1, abs=1e-5)


def test_a_network_is_scored_on_images_that_it_was_not_trained_on():
    asked = []

    def few(count, seed, test):
        asked.append((seed, test))
        return TASKS["recall"].data(8, seed, test)

    budget = TASKS["recall"].budget | {"steps": 1, "batch_size": 4}
    TASKS["recall"]._replace(data=few, budget=budget).run(torch.nn.Identity, seed=5)
    assert asked == [(5, False), (1000, True)]


def test_who_says_the_targets_explains_all_and_who_says_their_mean_nothing():
    targets = torch.tensor([[-3.0], [3.0]]).repeat(500, 1)
    assert explained(torch.nn.Identity(), targets, targets) == 1
    assert explained(torch.nn.Identity(), torch.zeros_like(targets), targets) == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize("task", TASKS)
def test_the_stored_table_is_in_step_with_the_library(task):
    """Run ``python -m benchmarks.tasks`` where it is not; ``--again NAME`` for a row whose module changed."""
    table = json.loads(FILE.read_text(encoding="utf-8"))[task]
    assert list(table) == NAMES
    for name, row in table.items():
        slot = filled(task, name)
        assert ("missing" in row) == (slot is None), name
        if slot is not None:
            assert row["numbers"] == sum(p.numel() for p in slot.parameters()), name
            assert row["multiply_adds"] == multiply_adds(slot, torch.zeros(1, *TASKS[task].size)), name
            assert len(row["scores"]) == 3, name
            assert row["milliseconds"] > 0, name


class Made(torch.nn.Module):
    """A slot that is one function, made here."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def dot_products(x):
    return (x.flatten(2) @ (x.flatten(2).mT @ x.flatten(2)).softmax(dim=1)).view_as(x)


SMALL = (4, 1, 24)
BY_HAND = {  # what crosses a strip of four channels: to one place, to four
    "nothing": (torch.nn.Identity(), (0, 0)),
    "a gate that each pixel has alone": (Made(lambda x: x * x.sigmoid()), (0, 0)),
    "a window of seven": (torch.nn.Conv2d(4, 4, 7, padding=3), (0, 0)),
    "an average of four channels": (Made(lambda x: x + x.mean(dim=(2, 3), keepdim=True)), (4, 4)),
    "a gate from one average": (Made(lambda x: x * x.mean(dim=(1, 2, 3), keepdim=True)), (1, 1)),
    "their products, 4 · 5 / 2 numbers": (
        Made(lambda x: (x.flatten(2) @ x.flatten(2).mT @ x.flatten(2)).view_as(x)),
        (4, 10),
    ),
    "a look-up by each place": (Made(dot_products), (4, 16)),
    "the mirrored image": (Made(lambda x: x.flip(3)), (4, 16)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_crosses_a_strip_is_what_one_counts_by_hand(name):
    slot, numbers = BY_HAND[name]
    assert crossing(lambda: slot, SMALL) == numbers


def test_of_several_random_starts_the_one_counts_that_lets_most_across():
    starts = [torch.nn.Identity(), Made(lambda x: x.flip(3))]
    assert crossing(iter(starts).__next__, SMALL) == crossing(iter(starts[::-1]).__next__, SMALL) == (4, 16)


def test_one_backward_pass_finds_the_derivatives_that_autograd_finds_one_by_one():
    slot, x = wide_awake(fill("NonLocal", *SMALL)), some_image(SMALL)
    every = torch.autograd.functional.jacobian(slot, x)[0, :, 0, -4:, 0, :, 0, :4]  # c places, c places
    torch.testing.assert_close(across(slot, x), every.transpose(0, 1).flatten(2))
