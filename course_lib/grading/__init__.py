"""The autograder: hidden tests, secret inputs, and the sandbox in which submissions run."""

from course_lib.grading.draw import Draw
from course_lib.grading.hidden import task, wrong

__all__ = ["Draw", "task", "wrong"]
