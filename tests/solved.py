"""A solution whose cells were run once, for the tests that put wrong answers into it."""

import contextlib
import io
from types import SimpleNamespace

import jupytext

from course_lib.authoring.places import parts
from course_lib.exercises import NotYet
from course_lib.grading.draw import Draw
from course_lib.grading.hidden import judge


class Solved:
    """The cells of one solution, run once; its functions can be replaced and its checks run again."""

    def __init__(self, slug: str):
        cells = [cell for cell in jupytext.read(parts(slug)["solution source"]).cells if cell.cell_type == "code"]
        tagged = {tag: cell.source for cell in cells for tag in cell.metadata.get("tags", [])}
        self.checks = {tag: source for tag, source in tagged.items() if tag.startswith("check_")}
        self.tasks = {tag: source for tag, source in tagged.items() if tag.startswith("task_")}
        self.names: dict = {}
        with contextlib.redirect_stdout(io.StringIO()):
            for cell in cells:
                exec(compile(cell.source, f"<{slug}>", "exec"), self.names)

    def says(self, task: str) -> str:
        """What the visible check of a task answers; empty where it is content."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(self.checks[task.replace("task", "check")], self.names)
        except NotYet as answer:
            return str(answer)
        return ""

    def replaced(self, answer):
        """The same solution with one function replaced by a wrong answer."""
        return self.holding(answer.replaces, answer.answer)

    @contextlib.contextmanager
    def holding(self, name: str, answer):
        """The same solution with ``answer`` in the place of ``name``."""
        right = self.names[name]
        self.names[name] = answer
        try:
            yield
        finally:
            self.names[name] = right

    def failed(self, hidden, seed, task: str | None = None) -> set[str]:
        """The tasks of which at least one hidden test fails; of one task alone where it is given."""
        hidden = hidden._replace(tests=[test for test in hidden.tests if task in (None, test.task)])
        return {verdict.task for verdict in judge(hidden, SimpleNamespace(**self.names), seed=seed) if verdict.error}

    def fails(self, hidden, seed, task: str) -> bool:
        """Whether a hidden test of one task fails; the first that does decides, and those behind it are not run."""
        return any(self.failed(hidden._replace(tests=[test]), seed, task) for test in hidden.tests)


def passes_all(hidden, task: str, names: dict, seed) -> bool:
    """Whether all hidden tests of a task are content with these names, in double precision."""
    student = SimpleNamespace(**names)
    return all(passes(test, student, seed) for test in hidden.tests if test.task == task)


def passes(test, student: SimpleNamespace, seed) -> bool:
    try:
        test.run(student, Draw(seed, test.name))
    except Exception as error:
        if isinstance(error, TimeoutError):
            raise  # somebody's clock has run out
        return False
    return True
