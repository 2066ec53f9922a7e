"""Formulas of one line stand beside each other on a wide page, and below each other on a telephone."""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

CLOSES = re.compile(r"[^\s\w(\[]+")  # a comma, a point, a bracket, behind a formula
PAIRS = ((r"{", r"}"), (r"\\begin\b", r"\\end\b"), (r"\\left(?![a-z])", r"\\right(?![a-z])"))


class FormulasBeside(SphinxTransform):
    """Each part of a line with ``\\qquad`` becomes a formula of its own: no browser breaks one formula in two."""

    default_priority = 400

    def apply(self, **_) -> None:
        for line in list(self.document.findall(nodes.math_block)):
            parts = formulas(line.astext())
            if len(parts) > 1:
                line.replace_self(nodes.container("", *(alone(line, part) for part in parts), classes=["formulas"]))


class FormulasKeepTheirMarks(SphinxTransform):
    """The comma behind a formula stays in its row: a browser may break a line between a picture and a comma."""

    default_priority = 400

    def apply(self, **_) -> None:
        for formula in list(self.document.findall(nodes.math)):
            after = formula.next_node(descend=False, siblings=True)
            mark = CLOSES.match(after.astext()) if isinstance(after, nodes.Text) else None
            if mark:
                after.parent.replace(after, nodes.Text(after.astext()[mark.end() :]))
                both = formula.deepcopy(), nodes.Text(mark[0])
                formula.replace_self(nodes.inline("", "", *both, classes=["unbroken"]))


def formulas(line: str) -> list[str]:
    """The parts between the wide gaps of a line, or the whole line where a part would be torn.

    >>> formulas(r"a = b \\qquad c = \\frac{1}{d}")
    ['a = b', 'c = \\\\frac{1}{d}']
    >>> len(formulas(r"\\begin{gathered} a \\qquad b \\end{gathered}"))
    1
    """
    parts = re.split(r"\s*\\qquad\s*", line.strip())
    whole = all(
        len(re.findall(first, part)) == len(re.findall(last, part)) for part in parts for first, last in PAIRS
    )
    return parts if whole else [line]


def alone(line: nodes.math_block, part: str) -> nodes.math_block:
    one = line.copy()
    one += nodes.Text(part)
    return one


def setup(app: Sphinx) -> None:
    app.add_transform(FormulasBeside)
    app.add_transform(FormulasKeepTheirMarks)
