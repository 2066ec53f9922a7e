"""The table of claims about cost says what the library counts today."""

import pytest

from benchmarks.claims import COUNTED, HERE, row


@pytest.mark.parametrize("claim", COUNTED, ids=lambda claim: claim.__name__)
def test_the_table_says_what_is_counted(claim):
    assert row(claim, claim()) in (HERE / "claims.md").read_text(encoding="utf-8"), "run: python -m benchmarks.claims"
