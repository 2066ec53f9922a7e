import pytest
import torch

from course_lib.data.digits import load_digits


def test_split_is_disjoint_and_complete():
    digits = load_digits(train=1301, seed=3)
    images = torch.cat([digits.train_images, digits.test_images])
    assert images.shape == (1797, 8, 8) and len(digits.test_labels) == 496
    # every digit of the file appears once, whatever the seed
    again = load_digits(train=5, seed=4)
    key = lambda x: sorted(map(tuple, x.flatten(1).tolist()))  # noqa: E731
    assert key(images) == key(torch.cat([again.train_images, again.test_images]))


def test_values_and_counts_are_those_of_the_published_file():
    digits = load_digits()
    images = torch.cat([digits.train_images, digits.test_images])
    labels = torch.cat([digits.train_labels, digits.test_labels])
    assert images.min() == 0 and images.max() == 1
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_labels_belong_to_their_images():
    # the nearest other image shows the same digit nearly always; with shuffled labels it would 10 % of the time
    digits = load_digits()
    distance = torch.cdist(digits.test_images.flatten(1), digits.train_images.flatten(1))
    nearest = digits.train_labels[distance.argmin(dim=1)]
    assert (nearest == digits.test_labels).float().mean() > 0.97


def test_same_seed_same_order():
    assert torch.equal(load_digits(seed=7).train_images, load_digits(seed=7).train_images)
    assert not torch.equal(load_digits(seed=7).train_labels, load_digits(seed=8).train_labels)


@pytest.mark.parametrize("train", [0, 1797])
def test_names_the_sizes_that_work(train):
    with pytest.raises(ValueError, match="use 1 to 1796"):
        load_digits(train=train)
