"""The autograder: hidden tests, secret inputs, and the sandbox in which submissions run.

What an author of hidden tests needs: ``task``, ``wrong`` and ``Draw``, imported when first used (they need torch).
"""

from importlib import import_module

__all__ = ["Draw", "task", "wrong"]


def __getattr__(name: str) -> object:
    homes = {"Draw": "draw", "task": "hidden", "wrong": "hidden"}
    if name not in homes:
        raise AttributeError(f"course_lib.grading has no {name}")
    return getattr(import_module(f"course_lib.grading.{homes[name]}"), name)
