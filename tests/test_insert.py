"""The page that puts blocks into networks does what it says."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "site/pages/reference/insert.rst"


def test_the_lines_of_the_page_print_what_stands_below_them():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert failed == 0 and tried > 20
