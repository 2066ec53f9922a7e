"""A cell does what it does in a notebook; what cannot be done here costs its own line and nothing else."""

import subprocess
import sys

from course_lib.grading.sandbox.shell import translated

ALONE = """
import os, sys
from course_lib.grading.sandbox.shell import Shell

def after(folder, *cells):
    os.chdir(folder)
    names = {}
    shell = Shell(names)
    raised = [type(error).__name__ for cell in cells for error in shell.run(cell, "<cell>")]
    return raised, {name: names[name] for name in ("a", "b") if name in names}

answers = [after(*case) for case in eval(sys.argv[1])]
print(repr(answers))
"""


def after(*cases: tuple) -> list[tuple[list[str], dict]]:
    """What was raised, and what a and b are, after the cells of each case (a folder, and cells) in a fresh shell.

    In a process of their own: a shell changes builtins.
    """
    done = subprocess.run([sys.executable, "-c", ALONE, repr(cases)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return eval(done.stdout.splitlines()[-1])


KEPT = {
    "magics": "a = 1\n%matplotlib inline\n%load_ext autoreload\nb = 2",
    "a shell line in a loop": "a = 1\nfor x in [1]:\n    !ls {x}\n    b = 2",
    "the output of a shell line": "files = !ls\na, b = 1, 2 + len(files)",
    "a timed cell": "%%time\na, b = 1, 2",
    "a timed line": "%time a = 1\n%timeit -n 3 b = 2",
    "a question": "print?\n?print\na, b = 1, 2",
    "what only looks like a magic": "a = (7\n % 3)\nb = 2",
    "exported magics": "get_ipython().run_line_magic('time', 'a = 1')\nget_ipython().system('ls')\nb = 2",
    "IPython's own get_ipython": "from IPython import get_ipython\nget_ipython().magic('%ls')\na, b = 1, 2",
    "await": "import asyncio\nawait asyncio.sleep(0)\nasync def two():\n    return 2\na, b = 1, await two()",
    "from the future, late": "a = 1\nfrom __future__ import annotations\ndef f(x: Undefined): pass\nb = 2",
    "a package that is not here": "import no_such_package as nope\na, b = 1, 2",
    "a wrong line in the middle": "a = 1\n1 / 0\nb = 2",
    "a line that only a function may have": "a = 1\nreturn 3\nbreak\nb = 2",
    "leaving": "a = 1\nimport sys\nsys.exit()\nb = 2",
    "input": "name = input('Your name? ')\na, b = 1, 2",
    "Colab": "from google.colab import drive, files\ndrive.mount('/content/drive')\n"
    "for name, data in files.upload().items(): pass\na, b = 1, 2",
    "a module with a picture": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\na, b = 1, 2",
}


COSTS_A_LINE = {
    "a package that is not here": ["ModuleNotFoundError"],
    "a wrong line in the middle": ["ZeroDivisionError"],
    "a line that only a function may have": ["SyntaxError", "SyntaxError"],
    "leaving": ["SystemExit"],
}


def test_the_rest_of_a_cell_runs(tmp_path):
    answers = after(*((str(tmp_path), cell) for cell in KEPT.values()))
    for name, (raised, names) in zip(KEPT, answers, strict=True):
        assert (raised, names) == (COSTS_A_LINE.get(name, []), {"a": 1, "b": 2}), name


def test_what_only_other_programs_understand_does_nothing(tmp_path):
    assert after((str(tmp_path), "a = 1", "%%bash\nb=2\nrm -rf /")) == [([], {"a": 1})]


def test_the_future_is_heard_by_later_cells(tmp_path):
    assert after((str(tmp_path), "from __future__ import annotations", "def f(x: Nowhere): pass\na = 1")) == [
        ([], {"a": 1})
    ]


def test_a_module_that_a_cell_wrote_can_be_imported_even_where_nothing_can_be_written(tmp_path):
    cells = "%%writefile mine.py\na = 1\n", "%%writefile -a mine.py\nb = 2\n", "from mine import a, b\n%run mine.py"
    assert after((str(tmp_path), *cells), ("/proc", *cells)) == [([], {"a": 1, "b": 2})] * 2


def test_a_cell_that_is_no_python_is_told_as_that(tmp_path):
    assert after((str(tmp_path), "a = 1\ntry:\n    b = 1")) == [(["SyntaxError"], {})]
    assert translated("a = 1 % 3") == "a = 1 % 3"
