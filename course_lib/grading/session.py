"""Grading one submission: load its cells, hear its visible checks, run the hidden tests; a death costs one task."""

import hashlib
import re
from functools import partial

from course_lib.grading.assignment import Assignment, Task, is_own, tidy
from course_lib.grading.cells import Cell
from course_lib.grading.diagnose import Diagnosis, Outcome
from course_lib.grading.draw import Draw
from course_lib.grading.forbidden import forbidden_use, names_in
from course_lib.grading.hidden import HiddenTest
from course_lib.grading.marks import CUT_SHORT, TaskMark
from course_lib.grading.precision import Judged, Trial, judged
from course_lib.grading.proxy import Student, StudentError
from course_lib.grading.sandbox.frames import BadFrame
from course_lib.grading.sandbox.host import UNASKED, Gone, Sandbox, Worker
from course_lib.grading.sandbox.nosy import LONGEST, MOST

REASONS = {
    "timeout": "it did not finish in the time allowed",
    "memory": "it needed more memory than a submission may use",
    "ended": "no time was left: earlier cells or tasks used all that a submission may take",
}
MAX_WORKERS = 60
MAX_NOTES, MAX_WORDS = 20, 1000
MISSING_NAME = re.compile(r"NameError: name '(\w+)' is not defined")
PROGRESS = "\n  so far "  # what a visible check adds to its sentence


# What a student reads of a failed hidden test. Fixed words: an exit status, a number in a bad frame or the name of an
# exception would be chosen by code that has just seen the hidden input.
SAID = {
    "timeout": REASONS["timeout"],
    "memory": REASONS["memory"],
    "ended": REASONS["ended"],
    "died": "it ended the process",
    "protocol": "it broke the grader's protocol",
    "raised": "your code raised an exception on other sizes and values",
    "untouched": "the task is yours to write",
}


class Session:
    """One submission being graded. ``seconds`` bounds each call and cell, twelve times as much the whole."""

    def __init__(self, sandbox: Sandbox, assignment: Assignment, cells: list[Cell], *, seed: str, seconds: float):
        self.sandbox, self.assignment, self.seed, self.seconds = sandbox, assignment, seed, seconds
        self.cells = in_order(cells, assignment)
        self.culprits: set[int] = set()
        self.failed: dict[int, str] = {}
        self.left = 12.0 * seconds  # of the time that its workers run, or wait for nothing but themselves
        self.undecided = self.starved = False  # see Worker
        self.worker: Worker | None = None
        self.workers = 0
        self.last: int | None = None  # the cell that ran last
        self.notes: tuple[str, ...] = ()
        self.heard: dict[str, None] = {}
        self.asked: tuple[str, ...] = ()  # for what is not its own, as the worker says

    def grade(self, diagnosis: Diagnosis) -> list[TaskMark]:
        """The mark of each task, in order."""
        try:
            words = {task.name: self.cause(self.visible_check(task), task) for task in self.assignment.tasks}
            # now: nothing that happens once a hidden input was sent may be told
            self.notes, self.asked = self.tell(), tuple(self.heard)[:MOST]
            return [self.grade_task(task, words[task.name], diagnosis) for task in self.assignment.tasks]
        finally:
            self.finish()

    def finish(self) -> None:
        if self.worker:
            self.worker.end()

    # The worker and its cells

    def ready(self) -> Worker:
        """A worker in which the cells have run, all but those that killed one before.

        Raises:
            Gone: if the submission's time, or its number of workers, is used up.
        """
        while not self.worker or self.worker.why:
            if self.left <= 0 or self.workers >= MAX_WORKERS:
                raise Gone("ended")
            self.worker, self.workers, self.last = self.sandbox.spawn(), self.workers + 1, None
            self.load()
        return self.worker

    def load(self) -> None:
        """Run the exercise's own cells, then the student's; a cell that lacked a name is tried again at the end."""
        try:
            for number, source in enumerate(self.assignment.prelude):
                self.ask({"op": "cell", "name": f"start {number + 1}", "source": source})
            waiting = [number for number in range(len(self.cells)) if number not in self.culprits]
            for _ in range(3):
                again = [number for number in waiting if not self.run(number)]
                if not again or len(again) == len(waiting):
                    break
                waiting = again
        except Gone:
            pass  # `ready` starts the next worker, without the culprit

    def run(self, number: int) -> bool:
        """Run one cell; whether it ran to its end, or failed for another reason than a missing name."""
        cell = self.cells[number]
        try:
            reply = self.ask({"op": "cell", "name": self.name(number), "source": cell.source})
        except Gone as gone:
            guilty = self.last if gone.why == UNASKED and self.last is not None else number
            if gone.why != "lost":  # the sandbox itself broke: nobody's fault
                self.culprits.add(guilty)
                self.failed[guilty] = why_it_ended(gone)
            raise
        self.last = number
        self.hear(reply)
        words = shown(reply.get("words", ""))
        if "raised" in reply and not (reply["raised"] == "AssertionError" and is_check(cell, words)):
            self.failed[number] = words
        else:
            self.failed.pop(number, None)
        return reply.get("again") is not True

    def hear(self, reply: dict) -> None:
        """Note what a cell or a check asked for that is not its own."""
        asked = reply.get("asked")
        said = asked[:MOST] if isinstance(asked, list) else []
        self.heard |= dict.fromkeys(shown(one)[:LONGEST] for one in said)

    def ask(self, request: dict) -> dict:
        worker = self.worker or self.ready()
        if self.left <= 0:
            worker.lose("ended")
        allowed = min(self.seconds, self.left)
        try:
            reply = worker.ask(request, allowed)
        except Gone:
            self.left -= allowed
            self.undecided, self.starved = self.undecided or worker.undecided, self.starved or worker.starved
            raise
        self.left -= worker.charged
        return reply

    def names(self) -> dict[str, bool]:
        """What the cells defined, and whether it is data."""
        names = self.ask({"op": "names"}).get("names")
        return {str(name): is_data is True for name, is_data in names.items()} if isinstance(names, dict) else {}

    # Visible checks: only for feedback, and before any hidden input is sent, so that their words cannot carry one

    def visible_check(self, task: Task) -> str:
        """What the visible check of a task says; empty where it holds."""
        try:
            self.ready()
            reply = self.ask({"op": "check", "name": task.name.replace("task", "check"), "source": task.check})
        except Gone as gone:
            return why_it_ended(gone)
        self.hear(reply)
        words = reply.get("words", "the check could not be run")
        return without_progress(shown(words), task.name) if isinstance(words, str) else ""

    def cause(self, words: str, task: Task) -> str:
        """What a check says; of a name that is missing since the cell that defines it failed, why that cell did."""
        missing = MISSING_NAME.search(words)
        defines = re.compile(rf"^(?:async\s+)?(?:def\s+|class\s+)?{missing[1]}\b\s*[=(:]", re.M) if missing else None
        for number, why in sorted(self.failed.items()):
            if defines and defines.search(self.cells[number].source):
                name = self.name(number)
                return f"{'this cell' if name == task.name else name} {CUT_SHORT}: {why}"
        return words

    # Hidden tests

    def grade_task(self, task: Task, check: str, diagnosis: Diagnosis) -> TaskMark:
        """All of a task's points when each of its hidden tests passes, else none."""
        if used := self.forbidden(task):
            said = f"this task is to be answered without {used}, and your answer uses it"
            return TaskMark(task=task.name, points=task.points, earned=0, reason="forbidden", check=said)
        outcomes: list[Outcome] = []
        hints: list[str] = []
        reason = ""
        for test in self.assignment.hidden.tests:
            if test.task != task.name or reason in ("timeout", "died", "memory", "protocol", "ended"):
                continue
            verdict = judged(partial(self.run_test, test), double=test.double)
            outcomes.append(Outcome(test.name, not verdict.reason, verdict.rest, verdict.single))
            if verdict.reason:
                reason = reason or verdict.reason
                hints.append(test.hint)
        if not outcomes:
            raise ValueError(f"{task.name} has no hidden test, so nothing can earn its {task.points} points")
        mistake = diagnosis.match(task.name, outcomes) if reason in ("wrong", "raised") else None
        return TaskMark(
            task=task.name,
            points=task.points,
            earned=0 if reason else task.points,
            reason=reason,
            check=check or SAID.get(reason, ""),
            hints=tuple(dict.fromkeys(hints)),
            mistake=mistake.name if mistake else "",
            sentence=mistake.sentence if mistake else "",
        )

    def forbidden(self, task: Task) -> str:
        """What the answer to a task uses of what it is to be answered without; "" where that is nothing."""
        tests = [test for test in self.assignment.hidden.tests if test.task == task.name]
        without = dict.fromkeys(word for test in tests for word in test.without)
        if not without:
            return ""
        cells = [*self.assignment.prelude, *(cell.source for cell in self.cells)]
        return forbidden_use(cells, names_in(self.assignment.stubs[task.name]), without)

    def run_test(self, test: HiddenTest, trial: Trial) -> Judged:
        """Run one hidden test; why it failed ("" where it passed) and what the student's functions returned."""
        for attempt in range(3):
            student = None
            try:
                self.ready()
                names = self.names()
                self.ask({"op": "fresh", "seed": seed_of(self.seed, test.name)})
                student = Student(self.ask, names, trial, without=test.without)
                test.run(student, Draw(self.seed, test.name))
                reason = ""
            except Gone as gone:
                if gone.why == "lost" or (student is None and attempt < 2):  # what came before the test is to blame
                    continue
                reason = reason_of(gone)
            except BadFrame:
                self.finish()
                reason = "protocol"
            except StudentError as error:
                reason = "untouched" if isinstance(error, NotImplementedError) else "raised"
            except (KeyboardInterrupt, SystemExit, MemoryError):
                raise
            except BaseException:  # the test's own verdict, pytest.fail included
                if student is None:
                    raise  # the test had not begun: the grader failed, and nobody's answer
                reason = "wrong"
            return Judged(reason, student._results if student else [])
        return Judged("lost", [])

    def tell(self) -> tuple[str, ...]:
        """For the student and the instructor: the cells that did not run, the first of them in words."""
        first, more = sorted(self.failed.items())[:MAX_NOTES], len(self.failed) - MAX_NOTES
        notes = [f"{self.name(number)} {CUT_SHORT}: {words}" for number, words in first]
        return (*notes, *([f"and {more} more cells did not run to their end"] if more > 0 else []))

    def name(self, number: int) -> str:
        return self.cells[number].name or f"cell {number + 1}"


def in_order(cells: list[Cell], assignment: Assignment) -> list[Cell]:
    """The cells to run: no copies of our own cells but untouched tasks, and those first.

    An untouched task comes first so that a second, solved copy of it wins wherever it stands.
    """
    untouched = [cell for cell in cells if tidy(cell.source) in assignment.untouched]
    return untouched + [cell for cell in cells if not is_own(cell, assignment)]


def why_it_ended(gone: Gone) -> str:
    return REASONS.get(gone.why, f"it ended the process ({gone.why})")


def reason_of(gone: Gone) -> str:
    """The kinds of death that a table tells apart."""
    if gone.why in REASONS:
        return gone.why
    return "protocol" if gone.why.startswith("broke") else "died"


def shown(words: object) -> str:
    """Text that a submission chose, made harmless: no half or control characters, and not endless."""
    return "".join(one if one.isprintable() or one == "\n" else "�" for one in str(words)[:MAX_WORDS])


def is_check(cell: Cell, words: str) -> bool:
    """Whether a cell that failed is a visible check: by its name, or where a script has lost it, by what it said."""
    return cell.name.startswith("check") or PROGRESS in words


def without_progress(words: str, task: str) -> str:
    """A visible check's sentence, without the task's name and the progress line around it."""
    return words.split(PROGRESS)[0].removeprefix(f"{task}: ")


def seed_of(seed: str, test: str) -> int:
    """The seed of a worker's own chance: it tells nothing about the seed of the draws."""
    return int.from_bytes(hashlib.sha256(f"worker/{seed}/{test}".encode()).digest()[:6], "big")
