"""Mutants of the exercises' answers that are right answers, too, and why: (right line, wrong line) → words."""

EQUIVALENT: dict[tuple[str, str], str] = {}
