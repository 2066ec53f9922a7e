import pytest
import torch
import torch.nn.functional as F

from course_lib.spatial.window import border, collect, compare
from tests.properties import assert_same, features


def windows(padded, k):
    """b s d H W -> b s d h w t"""
    return padded.unfold(3, k, 1).unfold(4, k, 1).flatten(5)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_both_products_equal_those_of_unfolded_windows(k):
    query, padded = features(3, 2, 5, 4, 6), features(3, 2, 5, 3 + k, 5 + k, seed=2)
    scores = torch.einsum("bsdhw,bsdhwt->tbshw", query, windows(padded, k))
    assert_same(compare(query, padded), scores)
    assert_same(collect(scores, padded), torch.einsum("tbshw,bsdhwt->bsdhw", scores, windows(padded, k)))


def test_gradients_are_those_of_finite_differences():
    query, image = features(2, 2, 3, 3, 4).requires_grad_(), features(2, 2, 3, 3, 4, seed=2).requires_grad_()

    def look(query, image):
        padded = F.pad(image, (1, 1, 1, 1))
        return collect(compare(query, padded), padded)

    assert torch.autograd.gradcheck(look, (query, image))


def test_second_derivatives_are_those_of_finite_differences():
    query, padded = features(1, 2, 3, 2, 3).requires_grad_(), features(1, 2, 3, 4, 5, seed=2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda q, p: collect(compare(q, p).sin(), p), (query, padded))


def test_the_border_of_an_axis_of_four_under_a_window_of_three():
    inf = torch.inf
    expected = torch.tensor([[-inf, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, -inf]])
    assert torch.equal(border(4, 3, torch.zeros(1)), expected)
