"""Answers that are the same after renaming: a hint to look at two notebooks side by side, never a mark.

Short tasks have few good answers, so equal ones are no proof of anything.
"""

import builtins
import hashlib
import io
import keyword
import tokenize
from collections.abc import Iterable, Mapping

FEW = 60  # tokens: below, everybody writes the same
MANY = 100_000
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING, tokenize.ENDMARKER}
KEPT = {*keyword.kwlist, *dir(builtins), "torch", "nn", "F", "math", "numpy", "np", "self"}


def fingerprint(answers: Mapping[str, str]) -> str:
    """The same for two students whose answers (functions by name) differ in names, comments and layout only.

    Empty where there is too little to tell. Only the tokens are read: no parser meets a student's code here.
    """
    tokens = [token for name in sorted(answers) for token in [name, *renamed(answers[name])]]
    text = "\n".join(tokens).encode("utf-8", errors="replace")
    return hashlib.sha256(text).hexdigest()[:16] if len(tokens) >= FEW else ""


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


def groups(prints: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Students whose fingerprints are equal, from (student, fingerprint)."""
    found: dict[str, list[str]] = {}
    for student, one in prints:
        if one:
            found.setdefault(one, []).append(student)
    return tuple(sorted(tuple(sorted(names)) for names in found.values() if len(names) > 1))
