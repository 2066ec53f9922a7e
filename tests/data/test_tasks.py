"""Every task is what its docstring says, checked on the data themselves."""

import math

import pytest
import torch

from course_lib.data.canvases import digit_canvases, place
from course_lib.data.cued_channels import cued_channels, textures
from course_lib.data.digits import load_digits
from course_lib.data.hidden_digit import hidden_digits
from course_lib.data.moving_digits import moving_digits
from course_lib.data.recall import IGNORE, in_image_recall
from course_lib.data.strips import digit_strips

MAKERS = [digit_canvases, cued_channels, hidden_digits, digit_strips, moving_digits, in_image_recall]
DIGITS = load_digits()


def labels_of(images, *, test=False):
    """The labels of exact copies of known digits, n 8 8 -> n."""
    known, labels = (DIGITS.test_images, DIGITS.test_labels) if test else (DIGITS.train_images, DIGITS.train_labels)
    distance = torch.cdist(images.flatten(1), known.flatten(1))
    assert distance.min(dim=1).values.max() < 1e-3, "not a copy of a known digit"
    return labels[distance.argmin(dim=1)]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_one_seed_one_data_set(make):
    first, again, other = (make(7, seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_turning_is_anticlockwise_and_moving_goes_right_and_down():
    image = torch.arange(64.0).view(1, 1, 8, 8) / 64
    one, none, middle = torch.ones(1), torch.zeros(1), torch.zeros(1, 2)
    turned = place(image, 8, one, torch.tensor([math.pi / 2]), middle)
    torch.testing.assert_close(turned, image.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    moved = place(image, 16, one / 2, none, torch.tensor([[0.5, -0.5]]))  # right, up
    torch.testing.assert_close(moved[:, :, :8, 8:], image, atol=1e-5, rtol=0)
    assert moved.sum() == pytest.approx(image.sum().item(), rel=1e-5)


def test_canvases_hold_their_digit_where_they_say():
    made = digit_canvases(200, size=33, digit=(9, 17), seed=5)
    assert made.images.shape == (200, 1, 33, 33) and made.images.min() >= 0 and made.images.max() <= 1
    weight = made.images[:, 0] / made.images.sum((1, 2, 3))[:, None, None]
    pixel = (2 * torch.arange(33) + 1) / 33 - 1
    found = torch.stack([(weight.sum(1) * pixel).sum(1), (weight.sum(2) * pixel).sum(1)], dim=1)
    assert (found - made.centres).abs().max() < 0.5 * 17 / 33
    assert torch.corrcoef(torch.stack([found.flatten(), made.centres.flatten()]))[0, 1] > 0.95
    sides = made.scales * 33
    assert 9 <= sides.min() and sides.max() <= 17
    assert (made.centres.abs() + made.scales[:, None]).max() <= 1 + 1e-6, "wholly inside"


def test_clutter_adds_and_angle_turns():
    plain, cluttered = digit_canvases(20, seed=1), digit_canvases(20, clutter=3, seed=1)
    assert torch.equal(plain.labels, cluttered.labels) and (cluttered.images >= plain.images).all()
    assert (cluttered.images.sum((1, 2, 3)) > plain.images.sum((1, 2, 3))).all()
    angles = digit_canvases(300, max_angle=60).angles.rad2deg()
    assert -60 <= angles.min() < -50 and 50 < angles.max() <= 60


def test_the_cue_names_the_channel_whose_digit_is_the_label():
    images, labels, cues = cued_channels(100, test=True)
    assert images.shape == (100, 4, 8, 24) and cues.bincount().min() > 20
    for image, label, cue in zip(images, labels, cues, strict=True):
        assert labels_of(image[cue, :, :8][None], test=True) == label
        nearest = (image[3, :, 16:] - textures()).abs().sum((1, 2)).argmin()
        assert nearest == cue
    assert images[:, :3, :, 8:].eq(0).all() and images[:, 3, :, :16].eq(0).all()


def test_a_sparse_cue_is_one_tile_of_the_texture_anywhere():
    images, _, cues = cued_channels(200, sparse=True)
    assert torch.equal(images[:, :3], cued_channels(200)[0][:, :3]), "the digits are the same"
    bright = images[:, 3, :, 16:] > 0.5
    assert bright.sum((1, 2)).eq(2).all(), "of 64 pixels two are bright, whatever the texture"
    for one, cue in zip(bright, cues, strict=True):
        (y, x), (other_y, other_x) = one.nonzero().tolist()
        assert (y == other_y, x == other_x) == [(True, False), (False, True), (False, False)][cue]
    assert bright.any(dim=0).sum() > 40, "everywhere"


def test_recall_is_answered_by_looking_the_key_up():
    images, targets, sources, queries = in_image_recall(50, height=7, width=11)
    assert images.shape == (50, 10, 7, 11) and sources.sum() == 200 and queries.sum() == 400
    assert torch.equal(targets != IGNORE, queries) and not (sources & queries).any()
    for image, target, source, query in zip(images, targets, sources, queries, strict=True):
        memory = {int(image[:4, y, x].argmax()): int(image[4:8, y, x].argmax()) for y, x in source.nonzero()}
        assert len(memory) == 4, "each key is stored once"
        for y, x in query.nonzero():
            assert target[y, x] == memory[int(image[:4, y, x].argmax())]
            assert image[4:8, y, x].eq(0).all(), "a query must not carry its answer"


def test_one_cell_holds_a_real_digit_and_the_others_only_its_pixels():
    cells, labels, places = hidden_digits(60, cells=5)
    rows = torch.arange(60)
    assert torch.equal(labels_of(cells[rows, places]), labels) and places.bincount(minlength=5).min() > 3
    scrambled = cells[rows, (places + 1) % 5].flatten(1)
    nearest = torch.cdist(scrambled, DIGITS.train_images.flatten(1)).min(dim=1).values
    assert nearest.min() > 0.5, "no scrambled cell is a digit"
    sorted_pixels = DIGITS.train_images.flatten(1).sort(dim=1).values
    assert torch.cdist(scrambled.sort(dim=1).values, sorted_pixels).min(dim=1).values.max() < 1e-3


def test_captions_read_the_strip_from_left_to_right():
    strips, captions, places = digit_strips(40, digits=3, cells=5)
    assert strips.shape == (40, 1, 8, 40) and (places.diff(dim=1) > 0).all()
    for strip, caption, place_ in zip(strips, captions, places, strict=True):
        cells = strip[0].unflatten(1, (5, 8)).transpose(0, 1)
        assert torch.equal(labels_of(cells[place_]), caption)
        empty = [k for k in range(5) if k not in place_]
        assert cells[empty].eq(0).all()


def test_a_moving_digit_is_seen_in_the_frames_that_are_named():
    video, _, shown = moving_digits(30, frames=7, visible=3)
    assert video.shape == (30, 1, 7, 24, 24) and (shown.sum(1) == 3).all()
    assert torch.equal(video.sum((1, 3, 4)) > 0, shown)
    still = moving_digits(30, frames=7)[0].sum((3, 4))
    assert (still.std(dim=2) / still.mean(dim=2)).max() < 0.05, "it moves, and neither grows nor fades"
    moves = moving_digits(30, frames=7)[0]
    assert not torch.allclose(moves[:, :, 0], moves[:, :, 6])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: digit_canvases(2, size=10, digit=(8, 12)),
        lambda: hidden_digits(2, cells=1),
        lambda: digit_strips(2, digits=5),
        lambda: moving_digits(2, visible=0),
        lambda: in_image_recall(2, height=3, width=3),
    ],
)
def test_sizes_that_do_not_fit_are_named(wrong):
    with pytest.raises(ValueError, match=r"\d"):
        wrong()
