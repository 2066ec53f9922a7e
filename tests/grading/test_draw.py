"""Secret sizes: distinct, the same for the same seed, and never fewer than asked for."""

import pytest

from course_lib.grading import Draw


def test_primes_are_distinct_and_bounded():
    sizes = Draw("a secret", "test").primes(5, high=13)
    assert sorted(sizes) == [3, 5, 7, 11, 13] and sizes == Draw("a secret", "test").primes(5, high=13)
    assert sizes != Draw("a secret", "another test").primes(5, high=13)


def test_more_primes_than_there_are_is_an_error_that_names_the_cure():
    with pytest.raises(ValueError, match="5 primes from 3 to 13, not 6; draw fewer, or raise high"):
        Draw("a secret").primes(6, high=13)
