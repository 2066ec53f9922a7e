import pytest

from course_lib.data.photographs import PHOTOGRAPHS, load_photograph


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_is_a_colour_image_of_natural_contrast(name):
    image = load_photograph(name)
    assert image.shape[0] == 3 and max(image.shape[1:]) == 256
    assert 0 <= image.min() < 0.1 and 0.85 < image.max() <= 1 and 0.1 < image.std() < 0.4


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_scaling_keeps_proportions_and_mean(name):
    image, small = load_photograph(name), load_photograph(name, height=40)
    assert small.shape[1] == 40
    assert abs(small.shape[2] / 40 - image.shape[2] / image.shape[1]) < 0.02
    assert abs(small.mean() - image.mean()) < 0.01


def test_names_the_photographs_there_are():
    with pytest.raises(ValueError, match="astronaut, cat, coffee"):
        load_photograph("dog")
