"""The five tasks of lesson 19: what stands in their slots, what they ask, and the stored table."""

import json

import pytest
import torch

from benchmarks.tasks import FILE, NAMES
from course_lib.catalog import CATALOG
from course_lib.comparison.slot import LEFT_OUT, RIVALS, fill
from course_lib.comparison.tasks import TASKS, salient, shift, smooth
from course_lib.costs import multiply_adds
from course_lib.data.digits import load_digits

PLACES = [(task, name) for task in TASKS for name in NAMES]


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
