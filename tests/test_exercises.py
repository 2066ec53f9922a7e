"""Every exercise: unsolved it earns nothing, solved everything, and no named wrong answer gets through."""

import inspect
import re
import time
from collections import Counter
from itertools import islice
from types import SimpleNamespace

import jupytext
import pytest
import torch
from torch.utils._pytree import tree_map

from benchmarks.equivalent import EQUIVALENT
from benchmarks.exercise_mutation import Trial, answered, survives
from benchmarks.mechanical import Mutant, mutants
from course_lib.authoring.places import find_slug, parts, slugs
from course_lib.basics.addressing import dot_score
from course_lib.exercises import Exercise, NotYet
from course_lib.grading.forbidden import forbidden_use
from course_lib.grading.hidden import judge, load
from tests.pasted import PRELUDE, accepts, adapted, answers, definitions, first_call, taken_over
from tests.solved import Solved, passes_all

EXERCISES = [slug for slug in slugs() if parts(slug)["solution source"].exists()]
SEEDS = (1, 2, 3)


@pytest.fixture(params=EXERCISES, scope="module")
def slug(request):
    return request.param


@pytest.fixture(scope="module")
def solved(slug):
    return Solved(slug)


@pytest.fixture(scope="module")
def hidden(slug):
    return load(slug)


def test_solved_earns_full_points(solved, hidden):
    for task in solved.checks:
        assert solved.says(task) == ""
    assert solved.names["exercise"].earned == solved.names["exercise"].points
    assert [solved.failed(hidden, seed) for seed in SEEDS] == [set()] * len(SEEDS)


def test_every_task_is_checked_hidden_and_has_five_wrong_answers(solved, hidden):
    tasks = {name.replace("check", "task") for name in solved.checks}
    exercise = solved.names["exercise"]
    assert (
        tasks == {exercise.task(k + 1) for k in range(len(exercise.points))} == {test.task for test in hidden.tests}
    )
    assert 3 <= len(tasks) and min(Counter(answer.task for answer in hidden.wrong).values()) >= 5
    assert {answer.task for answer in hidden.wrong} == tasks
    assert [answer.name for answer in hidden.wrong if len(answer.sentence) <= 20] == [], "these lack their sentence"


def test_the_lesson_and_the_library_pasted_in_earn_nothing(slug, solved, hidden):
    """What would pass the hidden tests must be the library's, and be refused however it comes in."""
    found = definitions(slug)
    for task in solved.tasks:
        for name in answers(solved.tasks[task]):
            earns, call = [], first_call(solved, hidden, task, name, 1)
            for pasted in found:
                candidate = adapted(pasted.it, solved.names[name])
                with solved.holding(name, candidate):
                    passes = accepts(candidate, call) and passes_all(hidden, task, solved.names, 1)
                if passes and not (pasted.of_library and refused(hidden, task, name, pasted.it)):
                    earns.append(pasted.name)
            assert earns == [], f"{name} of {task} stands there already"


def refused(hidden, task, name, it):
    """Whether the grader refuses what stands in the library, in every way in which an answer could take it over."""
    without = {word for test in hidden.tests if test.task == task for word in test.without}
    return all(forbidden_use([PRELUDE, cell], {name}, without) for cell in taken_over(name, it))


def test_the_refusal_needs_the_word_and_the_library_s_code(hidden):
    """The oracle's own test: without ``course_lib`` nothing is refused, nor is what nobody copied."""
    silent = SimpleNamespace(tests=[SimpleNamespace(task="task_00_1", without=())])
    strict = SimpleNamespace(tests=[SimpleNamespace(task="task_00_1", without=("course_lib",))])
    assert refused(strict, "task_00_1", "answer", dot_score) and not refused(silent, "task_00_1", "answer", dot_score)
    assert not refused(strict, "task_00_1", "answer", in_single_precision)


def test_a_right_answer_in_single_precision_earns_its_points(solved, hidden):
    """Where the visible check is content with it."""
    refused = []
    for task, source in solved.tasks.items():
        for name in answers(source):
            with solved.holding(name, in_single_precision(solved.names[name])):
                content = not solved.says(task)
                refused += [name] if content and task in solved.failed(hidden, 1, task) else []
    assert refused == []


def in_single_precision(answer):
    """The same answer, computed in float32; a module rounds its result to it."""
    if inspect.isclass(answer):
        return type(answer.__name__, (answer,), {"forward": lambda self, *args: lowered(answer.forward(self, *args))})
    return lambda *args, **kwargs: lowered(answer(*lowered(args), **lowered(kwargs)))


def lowered(value):
    """Tensors in double precision and bare floats, in single precision."""
    if isinstance(value, float):
        return torch.tensor(value)
    return tree_map(lambda one: one.float() if torch.is_tensor(one) and one.dtype == torch.float64 else one, value)


def test_the_header_promises_the_minutes_of_its_tasks(slug):
    text = parts(slug)["solution source"].read_text()
    tasks = [int(minutes) for minutes in re.findall(r"importance \d/5 · (\d+) minutes", text)]
    assert int(re.search(r"\*Minutes:\* (\d+)", text)[1]) == sum(tasks)


def test_unsolved_fails_every_check_and_every_hidden_test(slug, hidden):
    unsolved = {}
    said = []
    notebook = jupytext.read(parts(slug)["exercise"])
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        try:
            exec(compile(cell.source, f"<{slug}>", "exec"), unsolved)
        except NotYet as answer:
            said.append(str(answer))
    exercise = unsolved["exercise"]
    assert exercise.earned == [0] * len(exercise.points)
    tasks = [exercise.task(k + 1) for k in range(len(exercise.points))]
    assert len(said) == len(tasks)
    for task, answer in zip(tasks, said, strict=True):
        assert re.match(rf"{task}: \w+ is yours to write\n", answer)
    verdicts = judge(hidden, SimpleNamespace(**unsolved), seed=0)
    assert [verdict.test for verdict in verdicts if not verdict.error] == [], "these pass though nothing is solved"


def test_named_wrong_answers_are_caught(slug, solved, hidden, capsys):
    rows = []
    for answer in hidden.wrong:
        with solved.replaced(answer):
            caught = [solved.fails(hidden, seed, answer.task) for seed in SEEDS]
            rows.append((answer, all(caught), solved.says(answer.task)))
    with capsys.disabled():
        print(f"\nwrong answers to {slug}: hidden tests, visible check")
        for answer, by_hidden, says in rows:
            print(f"  {'✓' if by_hidden else '✗'} {'✓' if says else '–'}  {answer.task}  {answer.name}")
    assert [answer.name for answer, by_hidden, _ in rows if not by_hidden] == [], "no hidden test catches these"
    for task in {answer.task for answer in hidden.wrong}:
        seen = [bool(says) for answer, _, says in rows if answer.task == task]
        assert sum(seen) >= 0.8 * len(seen), f"the visible check of {task} catches {sum(seen)} of {len(seen)}"


def test_a_mutant_of_each_task_is_noticed_and_the_right_answer_is_not(solved, hidden):
    """A slice of benchmarks/exercise_mutation.py, which tries them all."""
    for task, source in solved.tasks.items():
        start = time.perf_counter()
        assert survives(solved, hidden, Trial(task, Mutant("", "", source)))
        patience = 2 + 10 * (time.perf_counter() - start)  # some mutants never end
        mutant = list(islice(mutants(source, answered(source)), 7))[-1]
        alive = survives(solved, hidden, Trial(task, mutant), patience)
        assert not alive or (f"{task}: {mutant.right}", mutant.wrong) in EQUIVALENT, mutant


def test_a_check_answers_in_words():
    exercise = Exercise("07_words", points=[2, 3])
    with pytest.raises(NotYet, match=r"task_07_1: weights must sum to 1\n  so far 0 of 5"), exercise.check(1):
        raise AssertionError("weights must sum to 1")
    with pytest.raises(NotYet, match="your code raised ZeroDivisionError: division by zero"), exercise.check(1):
        1 / 0  # noqa: B018
    with pytest.raises(NotYet, match=r"^task_07_2 is yours to write"), exercise.check(2):
        raise NotImplementedError("task_07_2 is yours to write")
    assert NotYet("words")._render_traceback_() == ["✗ words"]


def test_points_are_lost_again_when_a_check_fails(capsys):
    exercise = Exercise("07_words", points=[2, 3])
    with exercise.check(2):
        pass
    assert capsys.readouterr().out == "✓ task_07_2 · 3 points · so far 3 of 5 ▰▰▰▱▱\n"
    with pytest.raises(NotYet), exercise.check(2):
        raise AssertionError("no")
    assert exercise.earned == [0, 0]
    with pytest.raises(ValueError, match="tasks 1 to 2, not 3"), exercise.check(3):
        pass


@pytest.mark.parametrize("name", ["01", "addressing", "01_addressing"])
def test_a_slug_is_found_by_number_name_or_both(name):
    assert find_slug(name) == "01_addressing"


def test_an_unknown_slug_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"no lesson is called 'adress'; there are 00_start_here, 01_addressing"):
        find_slug("adress")
