"""The lint of teaching: a sound lesson has no findings, and each rule sees its fault."""

import ast
import re
import shutil

import pytest
from nbformat.v4 import new_output

from course_lib.authoring import builder as notebooks
from course_lib.authoring.lint import COLOUR_MAPS, RULES, colour_map_values, findings, imported, strings
from course_lib.authoring.places import parts
from course_lib.authoring.sources import is_draft
from course_lib.authoring.templates import FINISHED
from course_lib.cli import main
from course_lib.exercises import ROOT
from tests.tiny_course import tiny_course

SLUG = "01_averages"
HIDDEN = "".join(f'@task("task_01_{k}", hint="…")\n' + f'@wrong("task_01_{k}")\n' * 5 for k in (1, 2, 3))
THIRD = """
# %% [markdown]
# ## task_01_3 · The sum
# difficulty 1/5 · importance 1/5 · 2 minutes
#
# Write `total(numbers)`.
# <details><summary>Hint 1</summary> Python has a word for it. </details>
# <details><summary>Hint 2</summary> `sum` </details>

# %% tags=["task_01_3"]
def total(numbers):
    ### BEGIN SOLUTION
    return sum(numbers)
    ### END SOLUTION

# %% tags=["check_01_3"]
with exercise.check(3):
    assert total([4, 4]) == 8, "four and four are eight"
"""
PLAIN = new_output("display_data", data={"image/png": "AAAA", "text/plain": "<Figure>"})
WARNING = new_output("stream", name="stderr", text="UserWarning")
DUMP = new_output("execute_result", {"text/plain": "\n".join(["[0.0],"] * 26)})


def picture(source):
    """The output of ``describe``, with the words that the cell gives it; of a plain figure where it gives none."""
    words = re.search(r'describe\(figure, "(.*)"\)', source)
    return new_output("execute_result", data={"text/html": f'<img src="…" alt="{words[1]}">'}) if words else PLAIN


def put_out(notebook, *, folder, name):
    """Stands in for the kernel: a picture for each figure, a word for each other cell."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = (
                [picture(cell.source)] if "plt.subplots" in cell.source else [new_output("stream", text="fine")]
            )
            cell.outputs += [WARNING] * ("import warnings" in cell.source) + [DUMP] * (cell.source == "block.weight")
    return []  # no slider's pictures


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The tiny course with a third task and all six parts."""
    root = tiny_course(tmp_path_factory.mktemp("sound"))
    solution = parts(SLUG, root)["solution source"]
    three = solution.read_text().replace("points=[2, 1]", "points=[2, 1, 1]").replace("*Minutes:* 5", "*Minutes:* 7")
    solution.write_text(three + THIRD)
    parts(SLUG, root)["hidden tests"].parent.mkdir(parents=True)
    parts(SLUG, root)["hidden tests"].write_text(HIDDEN)
    return root


def found_after(root, monkeypatch, *changes):
    """The findings when a part is changed by (part, old, new) and everything is built again."""
    monkeypatch.setattr(notebooks, "run", put_out)
    for part, old, new in changes:
        path = parts(SLUG, root)[part]
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    for kind in notebooks.kinds(SLUG, root):
        notebooks.build(SLUG, kind, root)
    return findings([SLUG], root)


@pytest.fixture
def course(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "course")


def test_a_sound_course_has_no_findings(course, monkeypatch, capsys):
    assert found_after(course, monkeypatch) == []
    assert main(["check-lessons"], root=course) == 0
    assert "1 lessons read, 0 findings" in capsys.readouterr().out


LESSON, SOLUTION, TESTS = "lesson source", "solution source", "hidden tests"
DESCRIBED = 'describe(figure, "four pixels, each lighter than the one before.")'


LAST = "ipywidgets.interactive(lambda n: print(n), n=(0, 3))"
DEEPER = (LAST, f"{LAST}\n\n# %% [markdown]\n# ## Deeper · Nothing")
ONE_MINUTE = (LAST, f"{LAST}\n\n# %% [markdown]\n# ## Deeper · Something (1 minutes)\n# {150 * 'word '}")


def cell(code):
    """A further code cell before the widget of the lesson."""
    return (LESSON, '# %% tags=["widget"]', f'# %%\n{code}\n\n# %% tags=["widget"]')


@pytest.mark.parametrize(
    "rule, change, words",
    [
        ("title_and_question", (LESSON, "# # 01 · Averages\n", ""), "no title"),
        ("title_and_question", (LESSON, "the middle?", "the middle."), "question 'What is in the middle.'"),
        ("objectives", (LESSON, "# - move it.\n", ""), "2 objectives"),
        ("minutes", (LESSON, "*Minutes:* 5", "*Minutes:* many"), "0 minutes"),
        ("needs", (LESSON, " · *Needs:* —", ""), "no needs"),
        ("needs", (LESSON, "*Needs:* —", "*Needs:* 77"), "needs 77; there are lessons 01"),
        ("needs", (LESSON, "*Needs:* —", "*Needs:* 01"), "needs itself: 01 → 01"),
        ("needs", (LESSON, "*Needs:* —", "*Needs:* 7"), "needs 7; there are lessons 01"),
        (
            "minutes",
            (SOLUTION, "*Minutes:* 7", "*Minutes:* 8"),
            '8 minutes; write "*Minutes:* 7", the sum of the tasks',
        ),
        (
            "tags",
            (LESSON, 'tags=["static", "folded"]', 'tags=["static", "fold"]'),
            "cell 6: tag 'fold'; use one of answer",
        ),
        ("nothing_left_to_fill", (LESSON, "four pixels, each", "FILL IN"), "says FILL IN"),
        ("citations", (LESSON, "arXiv 1709.01507", "a journal"), "no paper with an arXiv id or DOI"),
        (
            "citations",
            (LESSON, "- draw it", "- draw as Smith et al. do"),
            "Smith et al. is cited without an id",
        ),
        ("alt_text", (LESSON, DESCRIBED, "figure"), "a figure without alternative text"),
        ("alt_text", (LESSON, DESCRIBED, 'describe(figure, "x")'), "a figure without alternative text"),
        (
            "minutes",
            (LESSON, "*Minutes:* 5", "*Minutes:* 9"),
            'the walk takes 3 minutes, not 9; write "*Minutes:* 3"',
        ),
        ("static_twins", (LESSON, '"static", ', ""), "a widget without a fixed twin"),
        ("minutes", (LESSON, "*Minutes:* 5", "*Minutes:* 5, deeper 7"), "deeper 7"),
        ("minutes", (LESSON, *DEEPER), "'Nothing' takes 0 minutes"),
        ("minutes", (LESSON, *ONE_MINUTE), "head it ## Deeper · Something (1 minute)"),
        ("cell_length", cell("\n".join("x = 1" for _ in range(21))), "21 lines of code"),
        ("cell_length", cell("\n# %%\n".join(["assert 1\n" * 7] * 5)), "have more than 6"),
        ("a_screen", cell("import math\n" * 26), "a cell of 26 lines"),
        ("a_screen", (SOLUTION, "### BEGIN SOLUTION", "### BEGIN SOLUTION\n" + "    # why\n" * 21), "split it; 25"),
        ("colour_maps", (LESSON, 'cmap="viridis"', 'cmap="jet"'), "colour map jet"),
        ("colour_maps", (LESSON, 'cmap="viridis"', 'cmap="jet_r"'), "colour map jet_r"),
        ("colour_maps", (LESSON, 'cmap="viridis"', "cmap=mine"), "colour map mine"),
        ("colour_maps", (LESSON, 'cmap="viridis"', "cmap=plt.cm.rainbow"), "colour map rainbow"),
        ("colour_maps", cell('plt.set_cmap("hsv")'), "colour map hsv"),
        ("colour_maps", cell('plt.colormaps["hot"]'), "colour map hot"),
        ("colour_maps", cell('HEAT = "hot"\nplt.imshow([[1]], cmap=HEAT)'), "colour map hot"),
        ("seeds", cell("import torch\n\ntorch.rand(3)"), "torch.rand is not seeded"),
        ("seeds", cell("import torch as t\n\nt.randn(3)\nt.manual_seed(0)"), "torch.randn is not seeded"),
        ("seeds", cell("import torch\n\ntorch.rand(3, generator=None)"), "torch.rand is not seeded"),
        ("seeds", cell("from torch import randperm\n\nrandperm(3)"), "torch.randperm is not seeded"),
        ("seeds", cell("from torch import nn\n\nnn.Linear(2, 3)"), "torch.nn.Linear is not seeded"),
        ("seeds", cell("import torch\n\ntorch.empty(3).normal_()"), "normal_ is not seeded"),
        ("seeds", cell("import numpy as np\n\nnp.random.rand(3)"), "numpy.random.rand is not seeded"),
        ("seeds", cell("import numpy as np\n\nnp.random.default_rng()"), "default_rng is not seeded"),
        ("seeds", cell("import random\n\nrandom.shuffle([1, 2])"), "random.shuffle is not seeded"),
        ("stable_outputs", cell("import warnings"), "stored a warning"),
        ("stable_outputs", cell("block.weight"), "put out 26 lines"),
        (
            "stable_outputs",
            cell('1\n\n# %% tags=["nbval-ignore-output"]\n2\n\n# %% tags=["nbval-ignore-output"]\n3'),
            "2 of 8 outputs are not compared",
        ),
        ("ratings_and_hints", (SOLUTION, "## task_01_1 · The mean", "## The mean"), "task_01_1 is not announced"),
        ("ratings_and_hints", (SOLUTION, "importance 5/5", "importance 6/5"), "task_01_1 has no ratings"),
        ("ratings_and_hints", (SOLUTION, "Add, then divide.", ""), "task_01_1 has 1 hints"),
        ("missing_parts", (TESTS, '@task("task_01_2"', '@task("task_01_9"'), "no @task for task_01_2"),
        ("missing_parts", (TESTS, '@wrong("task_01_1")', ""), "has 4 @wrong for task_01_1"),
        ("missing_parts", (TESTS, "…", "FILL IN"), "test_01_averages.py says FILL IN"),
    ],
)
def test_each_rule_sees_its_fault(course, monkeypatch, rule, change, words):
    found = found_after(course, monkeypatch, change)
    assert len(found) == 1, "the fault is found once, and nothing else is"
    assert words in str(found[0]) and found[0].cure


def test_every_rule_is_tested():
    marks = test_each_rule_sees_its_fault.pytestmark[0].args[1]
    tested = {mark[0] for mark in marks} | {"up_to_date", "missing_parts", "enough_tasks"}
    assert {rule.__name__ for rules in RULES.values() for rule in rules} <= tested


def test_what_the_builder_refuses_is_one_finding_among_the_others(course, monkeypatch):
    found_after(course, monkeypatch)
    source = parts(SLUG, course)[SOLUTION]
    source.write_text(source.read_text().replace("[2, 1, 1]", "[2, 1]").replace("Add, then divide.", ""))
    found = [str(finding).removeprefix("solutions/src/01_averages.py") for finding in findings([SLUG], course)]
    assert len(found) == 2 and found[0].startswith(" cell 3: task_01_1 has 1 hints")
    assert found[1].startswith(": has task cells [1, 2, 3] but points for 2 tasks; give points=[…]")


def test_an_exercise_has_three_tasks(course, monkeypatch):
    changes = (THIRD, ""), ("[2, 1, 1]", "[2, 1]"), ("*Minutes:* 7", "*Minutes:* 5")
    found = found_after(course, monkeypatch, *((SOLUTION, *change) for change in changes))
    assert [str(finding) for finding in found] == ["solutions/src/01_averages.py: 2 tasks; set at least 3"]


def test_a_seed_or_a_generator_is_enough(course, monkeypatch):
    code = (
        "import numpy as np\nimport torch\nfrom torch import nn\n\n"
        "np.random.default_rng(0)\ntorch.rand(2, generator=torch.Generator().manual_seed(0))\n\n"
        "# %%\ntorch.manual_seed(0)\nnn.Linear(2, 3)\ntorch.rand(2).normal_()"
    )
    assert found_after(course, monkeypatch, cell(code)) == []


def test_a_sampler_of_images_draws_no_numbers(course, monkeypatch):
    code = "from torch.nn import functional as F\n\n(lambda image, grid: F.grid_sample(image, grid))"
    assert found_after(course, monkeypatch, cell(code)) == []


def test_needs_that_go_round_are_found_from_each_lesson(course, monkeypatch):
    found_after(course, monkeypatch, (LESSON, "*Needs:* —", "*Needs:* 02"))
    second = parts("02_more", course)[LESSON]
    second.write_text("# %% [markdown]\n# # 02 · More\n# **Why?**\n# *Minutes:* 5 · *Needs:* 01\n")
    assert any("01 → 02 → 01" in str(finding) for finding in findings([SLUG], course))
    assert any("02 → 01 → 02" in str(finding) for finding in findings(["02_more"], course))


def test_parts_that_do_not_exist_are_named(course, monkeypatch):
    parts(SLUG, course)["solution source"].unlink()
    parts(SLUG, course)["hidden tests"].unlink()
    found = [str(finding) for finding in found_after(course, monkeypatch)]
    assert len(found) == 2 and "solutions/src/01_averages.py does not exist" in found[0]
    assert "tests/hidden/test_01_averages.py does not exist" in found[1]


def test_notebooks_that_are_not_built_or_not_executed_are_named(course, monkeypatch):
    found = [str(finding) for finding in findings([SLUG], course)]
    assert ["is not up to date; run `course build 01`" in finding for finding in found] == [True] * 2, found
    for kind in ("lesson", "solution"):
        notebooks.build(SLUG, kind, course, execute=False)
    found = [str(finding) for finding in findings([SLUG], course)]
    assert ["was never executed; run `course build 01`" in finding for finding in found] == [True] * 2, found


def test_findings_are_printed_and_the_status_is_1(course, monkeypatch, capsys):
    found_after(course, monkeypatch, (LESSON, "*Minutes:* 5", "*Minutes:* 0"))
    assert main(["check-lessons", "01"], root=course) == 1
    error = capsys.readouterr().err
    assert error == 'notebooks/src/01_averages.py cell 1: 0 minutes; write "*Minutes:* 40", from 1 to 90\n'


def test_a_template_is_full_of_findings(course, monkeypatch):
    main(["new", "16", "branch"], root=course)
    found = findings(["16_branch"], course)
    assert sum("FILL IN" in finding.value for finding in found) > 10
    assert {finding.value for finding in found if "@wrong" in finding.value} == {
        f"test_16_branch.py has 1 @wrong for task_16_{k}" for k in (1, 2, 3)
    }


def test_the_templates_name_a_finished_lesson_to_read_beside_them(capsys):
    assert [path for path in parts(FINISHED, ROOT).values() if not path.exists()] == []
    assert not is_draft(parts(FINISHED, ROOT)[LESSON])


def test_imported_names_are_followed_home():
    tree = ast.parse(
        "import numpy as np\nfrom torch import nn, rand as r\nimport torch.nn.functional as F\nimport torch"
    )
    assert imported(tree) == {"np": "numpy", "nn": "torch.nn", "r": "torch.rand", "F": "torch.nn.functional"}


def test_the_library_draws_with_safe_colour_maps_too():
    shared = strings(ast.parse((ROOT / "course_lib/plotting.py").read_text(encoding="utf-8")))
    for path in (ROOT / "course_lib").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for value in colour_map_values(tree):
            name = (
                (shared | strings(tree)).get(value.id)
                if isinstance(value, ast.Name)
                else getattr(value, "value", None)
            )
            assert name and name.removesuffix("_r") in COLOUR_MAPS, f"{path.name}: {ast.unparse(value)}"


def test_the_course_itself_has_no_findings(capsys):
    status = main(["check-lessons"])
    assert status == 0, capsys.readouterr().err
