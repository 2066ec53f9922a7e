"""Answers that two students share and hardly anybody else: a hint to look at two notebooks, never a mark.

Short tasks have few good answers, so in a class where many are right, equal answers are no news. News is what the
class does not explain. Each answer that two share counts by the part of the others who wrote it too; the product is
the chance that two who worked apart share all of it. A pair is shown where at least three quarters of what either
wrote is the same after renaming, and where chance would give less than one such pair among all pairs of the class.
"""

import builtins
import hashlib
import io
import keyword
import math
import tokenize
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations

FEW = 60  # tokens: below, everybody writes the same
MOST = 0.75  # of what either wrote
MANY = 100_000
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING, tokenize.ENDMARKER}
KEPT = {*keyword.kwlist, *dir(builtins), "torch", "nn", "F", "math", "numpy", "np", "self"}


Prints = Mapping[str, tuple[str, int]]  # of each answer by name: what is the same after renaming, and its length


def fingerprints(answers: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Of each answer what does not change with names, comments and layout.

    Only the tokens are read: no parser meets a student's code here.
    """
    tokens = {name: renamed(source) for name, source in answers.items()}
    return {name: (digest(found), len(found)) for name, found in tokens.items()}


def digest(tokens: list[str]) -> str:
    return hashlib.sha256("\n".join(tokens).encode("utf-8", errors="replace")).hexdigest()[:16]


def renamed(source: str) -> list[str]:
    """The tokens of an answer, each name that the student chose replaced by its number."""
    numbers: dict[str, str] = {}
    tokens: list[str] = []
    before = starts = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source[:MANY]).readline):
            if token.type in SILENT:
                starts = "" if token.type == tokenize.NEWLINE else starts
                continue
            text = {tokenize.INDENT: ">", tokenize.DEDENT: "<"}.get(token.type, token.string)
            if token.type == tokenize.STRING and not starts:  # a statement of its own: a docstring
                continue
            if token.type == tokenize.NAME and before != "." and text not in KEPT:
                text = numbers.setdefault(text, f"name{len(numbers)}")
            tokens.append(text)
            before = token.string
            starts = "" if token.type in (tokenize.INDENT, tokenize.DEDENT) else "inside"
    except (tokenize.TokenError, SyntaxError, ValueError):
        pass  # what could be read still tells
    return tokens


def alike(students: Iterable[tuple[str, Prints]]) -> tuple[tuple[str, ...], ...]:
    """Groups of students, from (student, fingerprints): each is alike with another of the group."""
    everybody = dict(students)
    share = shares(everybody.values())
    pairs = math.comb(len(everybody), 2)
    rare = [one for one, prints in everybody.items() if pairs * chance(prints, share) < 1]
    groups: list[set[str]] = []
    for one, other in combinations(rare, 2):
        both = shared(everybody[one], everybody[other])
        if both and pairs * chance(both, share) < 1:
            joined = [group for group in groups if group & {one, other}]
            groups = [group for group in groups if group not in joined] + [{one, other}.union(*joined)]
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def shares(everybody: Iterable[Prints]) -> dict[tuple[str, str], float]:
    """For each answer to each task the part of the others who wrote it too."""
    written = [(name, one) for prints in everybody for name, (one, _) in prints.items()]
    same, tried = Counter(written), Counter(name for name, _ in written)
    return {(name, one): (count - 1) / max(1, tried[name] - 1) for (name, one), count in same.items()}


def chance(prints: Prints, share: Mapping[tuple[str, str], float]) -> float:
    """How probable it is that somebody who worked apart wrote all of these, too."""
    return math.prod(share[name, one] for name, (one, _) in prints.items())


def shared(mine: Prints, other: Prints) -> Prints:
    """The answers that are the same in both; none where they are less than most of what either wrote."""
    both = {name: one for name, one in mine.items() if other.get(name) == one}
    length = written(both)
    return both if length >= max(FEW, MOST * max(written(mine), written(other))) else {}


def written(prints: Prints) -> int:
    return sum(length for _, length in prints.values())
