"""Formulas of one line stand beside or below each other, and no line of text ends within a number or a formula."""

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

CLOSES = re.compile(r"[^\s\w(\[]+")  # a comma, a point, a bracket, behind a formula
LETTER, SIGN, END = "[A-Za-zΑ-Ωα-ω]", "[=≈≠×·+−/<>≤≥→]", "(?![^\\W²³])"
BLANKS = re.compile(
    rf"""(?<=\d) \s (?=%)  # 0.5 %
    | (?<=\d) [ ] (?=\d{{3}}(?![\d.]))  # 10 000
    | (?<=[\w²³)½¼¾°%]) (?<![a-z]{{2}}) \s (?={SIGN}\s)  # n =
    | (?<={SIGN}) (?<![^\s(].) \s (?=[(−+±√]*(?:[\d½¼¾∞]|{LETTER}{END}))  # = 3
    | (?<={LETTER}) (?<![^\s(].) \s (?=(?:{LETTER}|\d){END})  # b c
    | (?<=\d) (?<![^\s(].) \s (?={LETTER}{END}(?!'))  # 2 h
    | (?<=\(\S,) \s (?=\S\))  # (1, 0)
    """,
    re.VERBOSE,
)
LONG, BEFORE_SIGN = re.compile(r"[^ \n]{15,}"), re.compile(r"\xa0(?=[=+−·]\xa0)")
FIXED = nodes.FixedTextElement, nodes.literal, nodes.math, nodes.title, nodes.raw, addnodes.desc_signature
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


class FormulasKeepTheirBlanks(SphinxTransform):
    """A line of a telephone is short: it would often end behind the sign of 8 × 8 or before that of 0.5 %."""

    default_priority = 410  # when the marks are in their rows

    def apply(self, **_) -> None:
        for text in list(self.document.findall(nodes.Text)):
            kept = unbroken(text)
            if kept != text and not any(isinstance(one, FIXED) for one in parents(text)):
                text.parent.replace(text, nodes.Text(kept))


def parents(node: nodes.Node) -> Iterator[nodes.Node]:
    while node := node.parent:
        yield node


def unbroken(text: str) -> str:
    """No line ends within a number, a short formula or a shape.

    >>> unbroken("b 2 h w, 2 c²: at 3 × 3 it gains 0.5 % of 10 000, from (1, 0) to ≈ 2 a day").replace("\\xa0", "~")
    'b~2~h~w, 2~c²: at 3~×~3 it gains 0.5~% of 10~000, from (1,~0) to ≈~2~a day'

    A long formula may go on below, before a sign.

    >>> unbroken("2 c²/r + 2 c h w").replace("\\xa0", "~")
    '2~c²/r +~2~c~h~w'
    """
    return LONG.sub(lambda run: BEFORE_SIGN.sub(" ", run[0]), BLANKS.sub("\xa0", text))


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
    app.add_transform(FormulasKeepTheirBlanks)
