import pytest
import torch

from course_lib.spatial.compact_non_local import CompactNonLocal
from tests.properties import assert_same, features, randomise


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_equals_the_explicit_product_of_all_with_all(groups):
    block, x = randomise(CompactNonLocal(12, groups=groups)), features(3, 12, 3, 5)
    y = torch.empty(3, 6, 3, 5).double()
    for b in range(3):
        for some in torch.arange(6).chunk(groups):
            theta, phi, g = (f(x[b : b + 1])[0, some].flatten() for f in (block.query, block.key, block.value))
            y[b, some] = (torch.outer(theta, phi) @ g).view(-1, 3, 5)  # c'n × c'n
    assert_same(block(x), x + block.norm(block.output(y)))


def test_forward_applies_attention():
    block, x = randomise(CompactNonLocal(12, groups=2)), features(3, 12, 5, 7)
    s = block.attention(x).repeat_interleave(3, dim=1)[:, :, None, None]  # three channels a group
    assert_same(block(x), x + block.norm(block.output(s * block.query(x))))


def test_starts_as_the_identity():
    x = torch.randn(3, 12, 5, 7)
    assert torch.equal(CompactNonLocal(12, groups=2)(x), x)


def test_groups_do_not_see_each_other():
    block, x = randomise(CompactNonLocal(12, groups=2)), features(3, 12, 5, 7)
    before = block(x) - x
    block.value.weight.data[3:] *= -5  # the second group's g
    after = block(x) - x
    assert_same(after[:, :6], before[:, :6])
    assert not torch.allclose(after[:, 6:], before[:, 6:])


def test_is_linear_in_the_values():
    block, x = randomise(CompactNonLocal(12, groups=2)), features(3, 12, 5, 7)
    s = block.attention(x)
    block.value.weight.data *= 3
    assert_same(block.attention(x), 3 * s)


def test_the_group_norm_hides_all_of_the_scalar_but_its_sign():
    block, x = randomise(CompactNonLocal(12, groups=2)), features(3, 12, 5, 7)
    sign = block.attention(x).sign().repeat_interleave(3, dim=1)[:, :, None, None]
    block.norm.eps = 1e-12
    torch.testing.assert_close(block(x), x + block.norm(block.output(sign * block.query(x))))


def test_holds_no_map():
    block, x, sizes = CompactNonLocal(16), torch.randn(1, 16, 16, 16), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.untyped_storage().nbytes()) or t, id):
        block(x)
    assert max(sizes) <= x.nbytes


def test_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in CompactNonLocal(1024).parameters()) == 1_640_448


@pytest.mark.parametrize(
    ("channels", "groups", "cure"), [(12, 4, r"use one of \[1, 2, 3, 6\]"), (12, 0, r"\[1, 2"), (10, 2, r"\[1, 5\]")]
)
def test_names_the_groups_that_fit(channels, groups, cure):
    with pytest.raises(ValueError, match=cure):
        CompactNonLocal(channels, groups=groups)


def test_refuses_a_single_channel():
    with pytest.raises(ValueError, match="channels=1 "):
        CompactNonLocal(1, groups=1)


def test_scaled_divides_by_the_root_of_the_number_of_products():
    plain, scaled = (randomise(CompactNonLocal(8, groups=2, scaled=flag)) for flag in (False, True))
    x = features(3, 8, 5, 7)
    assert_same(scaled.attention(x), plain.attention(x) / (2 * 5 * 7) ** 0.5)
