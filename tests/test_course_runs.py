"""Every notebook runs: offline, in time, twice, from anywhere, with its stored outputs; and in Colab and nbgrader.

One run in one kernel proves most of it, because starting a kernel and importing torch is what costs:
each notebook is copied with its cells twice, the first time in its own folder, the second in the root.
A lesson and its solution share one run of pytest, each with a kernel of its own.
Every cell runs both times. The second time, a training that goes in alike is looked up (offline/remembered.py), and a
described figure is made but not turned into pixels, which are not compared.
"""

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course_lib.authoring.address import set_up as set_up_cell
from course_lib.authoring.builder import METADATA, kinds, name_cells, read
from course_lib.authoring.execution import ENVIRONMENT, numbers
from course_lib.authoring.places import parts, slugs
from course_lib.authoring.sources import tagged
from course_lib.cli import main
from course_lib.exercises import ROOT
from course_lib.notebook_client import Client
from course_lib.self_check import run_checks

OFFLINE = ROOT / "tests/offline"
# CPU-seconds a notebook, with the start of its kernel. 60 is meant; but a second of a core that others use is
# a shorter one: the same notebook took 40 on an idle machine and 66 on a busy one.
LIMIT = 100
EXERCISES = [slug for slug in slugs() if "exercise" in kinds(slug, ROOT)]


def environment(*folders: Path, **more: str) -> dict[str, str]:
    """One thread, no network, and ``folders`` before everything that is installed."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")  # for git and others
    path = os.pathsep.join(map(str, [OFFLINE, *folders]))
    return {**os.environ, **ENVIRONMENT, **nowhere, "PYTHONPATH": path, **more}


def python(code: str, folder: Path, **more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True)


# In step


def test_sources_notebooks_and_tables_are_in_step(capsys):
    assert main(["build", "--check"]) == 0, capsys.readouterr().err


# What chance or a processor may move


def test_each_number_behind_a_sign_of_about_is_left_out_of_the_comparison():
    """Also those that follow one with a unit: ``≈ 24° 25°``."""
    rules = configparser.ConfigParser(interpolation=None)
    rules.read(OFFLINE / "nbval.cfg", encoding="utf-8")
    cells = [cell for slug in slugs() for path in executed(slug) for cell in read(path).cells]
    outputs = [output.get("text", "") for cell in cells for output in cell.get("outputs", ())]
    left = re.sub(rules["about"]["regex"], rules["about"]["replace"], "\n".join(outputs))
    assert left.count("≈ #") > 100 and re.findall(r"≈ #[^\w\s(;:,]* *\d.*", left) == []


def executed(slug: str) -> list[Path]:
    """The notebooks with outputs: a lesson and its solution."""
    return [parts(slug)[kind] for kind in kinds(slug, ROOT) if kind != "exercise"]


# The network is cut off


def test_the_guard_bites_and_lets_this_machine_talk_to_itself(tmp_path):
    code = """if True:
        import socket, urllib.request
        def refused(call):
            try: call()
            except OSError as error: return "cut off" in str(error)
        assert refused(lambda: socket.create_connection(("example.org", 80), 1))
        assert refused(lambda: socket.socket().connect(("192.0.2.1", 80)))
        assert refused(lambda: socket.socket().connect_ex(("192.0.2.1", 80)))
        assert refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 53)))
        assert refused(lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)))
        assert refused(lambda: urllib.request.build_opener(urllib.request.ProxyHandler({})).open("http://example.org"))
        server = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(("localhost", server.getsockname()[1]), 5)
        print("bites")"""
    done = python(code, tmp_path)
    assert done.stdout == "bites\n", done.stderr


# Every notebook runs


def silent(code: str):
    return new_code_cell(code, metadata={"tags": ["nbval-ignore-output"]})


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.name}"


def doubled(path: Path, times: Path, limit: float):
    """The cells of a notebook in its own folder, then again in the root, with the time of the first run between."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    code = "\n".join(cell.source for cell in cells)
    trains = "course_lib.training" in code or "course_lib.comparison" in code
    draws = "course_lib.plotting" in code
    in_folder = silent(f"__import__('os').chdir({str(path.parent)!r})" + trains * "\n__import__('remembered')")
    between = silent(
        f"cpu_seconds = sum(__import__('os').times()[:4])\n"
        f"assert cpu_seconds <= {limit}, f'{{cpu_seconds:.0f}} CPU-seconds; {limit} is the most'\n"
        f"assert __import__('socket').socket.connect.__module__ == 'sitecustomize', 'the network is not cut off'\n"
        f"print(f'{{cpu_seconds:.1f}}', file=open({str(times / name_of(path))!r}, 'w'))\n"
        f"__import__('os').chdir({str(path.parents[1])!r})"
        + trains * "\n__import__('remembered').look_up = True"
        + draws * "\n__import__('course_lib.plotting').plotting.png = lambda figure: b'drawn once'"
    )
    both = [in_folder, *cells, between, *nbformat.from_dict(cells)]
    name_cells(both)
    return new_notebook(cells=both, metadata=METADATA)


def nbval(
    paths: list[Path], folder: Path, learned: Path, *, limit: float = LIMIT
) -> tuple[subprocess.CompletedProcess, dict]:
    """Run doubled notebooks under nbval, and tell the CPU-seconds of those that got through once."""
    times, copies = folder / "times", folder / "copies"
    for made in times, copies:
        made.mkdir()
    for path in paths:
        nbformat.write(doubled(path, times, limit), copies / name_of(path))
    shutil.copy(OFFLINE / "nbval.cfg", folder)
    # Their own root and settings: outside of its root, pytest takes files of one name for one file, and skips cells.
    (folder / "pytest.ini").write_text("[pytest]\n")
    # CPU-seconds are limited; what a cell takes of the clock, a busy machine decides.
    options = "-p nbval.plugin --nbval --nbval-cell-timeout=600 --nbval-sanitize-with nbval.cfg -q --color=no"
    command = [
        sys.executable,
        "-m",
        "pytest",
        *options.split(),
        f"--rootdir={folder}",
        "--junitxml=said.xml",
        "copies",
    ]
    alone = environment(COURSE_LEARNED=str(learned), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    return done, {file.name: float(file.read_text()) for file in sorted(times.iterdir())}


def failures(folder: Path, path: Path) -> str:
    """What failed in one notebook of a run: each cell counted as the lint does, without colours."""
    places = [f"cell {place}" for place in numbers(read(path))]
    cells = ["start", *places, "the end of the first run", *(f"{place}, run again from the root" for place in places)]
    said = []
    for case in ElementTree.parse(folder / "said.xml").iter("testcase"):
        if case.get("classname") == f"copies.{name_of(path)}":
            for words in [*case.iter("failure"), *case.iter("error")]:
                what = COLOUR.sub("", words.text).partition(f"{case.get('name')}: ")[2]
                said.append(f"{path.parent.name}/{path.name}, {cells[int(case.get('name').split()[1])]}: {what}")
    return "\n".join(said)


COLOUR = re.compile(r"#x1B\[[0-9;]*m")  # as it stands in XML


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("slug", slugs())
def test_notebooks_run_offline_in_time_twice_from_anywhere_with_the_stored_outputs(slug, tmp_path, learned):
    notebooks = executed(slug)
    done, seconds = nbval(notebooks, tmp_path, learned)
    print("CPU-seconds of the first run:", seconds)
    assert "\n".join(filter(None, [failures(tmp_path, path) for path in notebooks])) == ""
    assert {*seconds} == {*map(name_of, notebooks)}, f"not all were run to their end\n{done.stdout[-5000:]}"


SAME = """if True:
    import copy, remembered, torch
    from course_lib.training import fit
    remembered.look_up = True
    torch.manual_seed(0)
    x, y = torch.randn(30, 3), torch.arange(30) % 2
    first = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout())
    shift = 1.0
    def loss(out, truth):
        return torch.nn.functional.cross_entropy(out * shift, truth)
    def trained(x=x, seed=0, wanted=loss):
        torch.manual_seed(1)  # for dropout
        model = copy.deepcopy(first)
        losses = fit(model, x, y, steps=5, seed=seed, loss=wanted)
        return losses, [(p.tolist(), p.grad.tolist()) for p in model.parameters()], torch.rand(1).item()
    def files(): return len([*remembered.FOLDER.iterdir()])
    one = trained()
    assert trained() == one and files() == 1, 'it trained twice'
    moved = x.clone()
    moved[0, 0] += 1e-6
    for other in {"x": moved}, {"seed": 1}, {"wanted": lambda out, truth: loss(out, truth)}:
        before = files()
        trained(**other)
        assert files() == before + 1, f'{other} is not the same'
    shift = 2.0
    assert trained()[0] != one[0], 'what a loss reads has changed'
    first[1].p = 0.25
    before = files(); trained(); assert files() == before + 1
    print("sound")"""


def test_only_a_training_that_is_the_same_to_the_last_bit_is_looked_up(tmp_path):
    (tmp_path / "learned").mkdir()
    done = python(SAME, tmp_path, COURSE_LEARNED=str(tmp_path / "learned"))
    assert done.stdout == "sound\n", done.stderr


BAD = {  # cells that pass once, where they should not
    "stored": "print('new')",
    "network": "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept TimeoutError: pass",
    "again": "assert 'seen' not in globals()\nseen = True",
    "elsewhere": "open('beside.txt').close()",
    "long": "import time\nwhile time.process_time() < 5: pass",
}


@pytest.mark.timeout(900)
def test_each_fault_is_seen(tmp_path):
    """A stale output, a connection, a second run, another folder, too long a time; and a good one passes."""
    folder = tmp_path / "root/notebooks"
    folder.mkdir(parents=True)
    (folder / "beside.txt").touch()
    for name, code in {**BAD, "good": "print('old')"}.items():
        cell = new_code_cell(code, execution_count=1)
        if "print" in code:
            cell.outputs = [new_output("stream", name="stdout", text="old\n")]
        nbformat.write(new_notebook(cells=[cell], metadata=METADATA), folder / f"{name}.ipynb")
    done, _ = nbval(sorted(folder.glob("*.ipynb")), tmp_path, tmp_path, limit=4)
    said = {path.stem: failures(tmp_path, path) for path in folder.glob("*.ipynb")}
    assert {name for name, words in said.items() if words} == set(BAD), done.stdout[-5000:]
    assert said["stored"].startswith("notebooks/stored.ipynb, cell 1: Cell outputs differ")
    assert said["again"].startswith("notebooks/again.ipynb, cell 1, run again from the root: ")
    assert "4 is the most" in said["long"] and "[31m" not in "".join(said.values())


# Points


@pytest.mark.parametrize("slug", EXERCISES)
def test_solutions_show_full_points(slug):
    checks = [cell for cell in read(parts(slug)["solution"]).cells if tagged(cell, "check") is not None]
    points = [cell.metadata.nbgrader.points for cell in checks]
    for k, cell in enumerate(checks, start=1):
        assert f"✓ task_{slug[:2]}_{k} · {points[k - 1]} point" in cell.outputs[0].text
        assert f"so far {sum(points[:k])} of {sum(points)}" in cell.outputs[0].text


def test_an_unsolved_exercise_earns_nothing_in_a_kernel_and_says_so():
    """One of them; tests/test_exercises.py runs the cells of each without a kernel."""
    slug = EXERCISES[-1]
    exercise, failures = run_checks(parts(slug)["exercise"])
    assert exercise.earned == [0] * len(exercise.points)
    for k, failure in enumerate(failures, start=1):
        assert re.fullmatch(rf"{exercise.task(k)}: \w+ is yours to write", failure)
    assert len(failures) == len(exercise.points)


# Colab


@pytest.fixture(scope="session")
def bare_clone(tmp_path_factory) -> str:
    """The address of a bare repository that holds the working tree as it is now."""
    work, bare = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("bare")
    for folder in ("course_lib", "exercises"):
        shutil.copytree(ROOT / folder, work / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (work / "solutions").mkdir()
    (work / "solutions/secret.txt").write_text("not for Colab")
    author = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    for command in (["init", "-q", "-b", "main"], ["add", "--all"], [*author, "commit", "-q", "-m", "now"]):
        subprocess.run(["git", *command], cwd=work, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    subprocess.run(["git", "config", "uploadpack.allowFilter", "true"], cwd=bare, check=True)
    return f"file://{bare}"


@pytest.fixture(scope="session")
def colab() -> Path:
    """Colab's versions in a folder of their own, installed once."""
    requirements, folder = ROOT / "tests/colab-requirements.txt", ROOT / ".colab"
    stamp = folder / hashlib.sha1(requirements.read_bytes()).hexdigest()
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = ["install", "-q", "--no-deps", "--target", str(folder), "-r", str(requirements)]
        done = subprocess.run([sys.executable, "-m", "pip", *command], capture_output=True, text=True)
        assert done.returncode == 0, f"Colab's versions could not be installed; connect once.\n{done.stderr[-2000:]}"
        stamp.touch()
    return folder


@pytest.mark.timeout(900)
def test_the_first_lessons_run_in_an_empty_folder_with_colabs_versions(bare_clone, colab, tmp_path):
    """Nothing but an empty folder and an address; the set-up cell opens each lesson, so it runs twice."""
    names = "IPython", "ipykernel", "ipywidgets", "matplotlib", "numpy"
    versions = f"print(*[__import__(name).__version__ for name in {names}])"
    where = "import course_lib\nprint(course_lib.__file__)"
    lessons = [cell for slug in slugs()[:2] for cell in read(parts(slug)["lesson"]).cells]
    cells = [new_code_cell(versions), *lessons, new_code_cell(where)]
    name_cells(cells)
    notebook = new_notebook(cells=cells, metadata=METADATA)
    client = Client(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment(colab, COURSE_REPO=bare_clone, COURSE_HIDDEN="1", COURSE_REF="main"))
    assert cells[0].outputs[0].text == "7.34.0 6.17.1 7.7.1 3.10.0 2.1.3\n"
    assert cells[-1].outputs[0].text.startswith(str(tmp_path / "course/course_lib"))
    assert not (tmp_path / "course/solutions").exists() and (tmp_path / "course/exercises").exists()


def set_up(times: int) -> str:
    code = set_up_cell(ROOT).source
    return "\n".join([code] * times + ["import course_lib", "print(course_lib.__file__)"])


def test_set_up_does_nothing_where_the_course_is_importable(bare_clone, tmp_path):
    done = python(set_up(2), tmp_path, COURSE_REPO=bare_clone)
    assert done.stdout == f"{ROOT / 'course_lib/__init__.py'}\n", done.stderr
    assert not list(tmp_path.iterdir())


def test_set_up_fetches_once_and_finds_it_the_second_time(bare_clone, tmp_path):
    for _ in range(2):  # a restarted kernel comes back to the same folder
        done = python(set_up(2), tmp_path, COURSE_REPO=bare_clone, COURSE_HIDDEN="1")
        assert done.stdout == f"{tmp_path / 'course/course_lib/__init__.py'}\n", done.stderr


def test_set_up_looks_upward_before_it_fetches(tmp_path):
    shutil.copytree(ROOT / "course_lib", tmp_path / "home/course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "home/my/deep").mkdir(parents=True)
    done = python(set_up(2), tmp_path / "home/my/deep", COURSE_REPO="file:///nowhere", COURSE_HIDDEN="1")
    assert done.stdout == f"{tmp_path / 'home/course_lib/__init__.py'}\n", done.stderr


def test_set_up_without_a_network_says_what_to_do_and_works_afterwards(bare_clone, tmp_path):
    done = python(set_up(1), tmp_path, COURSE_HIDDEN="1")  # the real address, which the guard cuts off
    assert done.returncode and "connect to the network and run this cell again" in done.stderr.splitlines()[-1]
    done = python(set_up(1), tmp_path, COURSE_HIDDEN="1", COURSE_REPO=bare_clone)
    assert done.stdout.startswith(str(tmp_path / "course")), done.stderr


HALF = {  # what an interrupted first run may leave behind, and what somebody else may have put there
    "a clone without files": "git clone -q --no-checkout --depth 1 $REPO course",
    "a clone without the library": "git clone -q --depth 1 --filter=blob:none --sparse $REPO course",
    "the start of a clone": "mkdir -p course/.git/objects",
    "our own half": "mkdir -p .course/course_lib",
    "somebody's folder": "mkdir course",
}


@pytest.mark.parametrize("left", HALF)
def test_set_up_recovers_from_an_interruption_and_deletes_nothing(bare_clone, tmp_path, left):
    subprocess.run(HALF[left].replace("$REPO", bare_clone), shell=True, cwd=tmp_path, check=True)
    if (tmp_path / "course").exists():
        (tmp_path / "course/mine.txt").write_text("my notes")
    for _ in range(2):  # the second time, it is found
        done = python(set_up(1), tmp_path, COURSE_REPO=bare_clone, COURSE_HIDDEN="1")
        assert re.fullmatch(rf"{tmp_path}/course/(\.course/)?course_lib/__init__.py\n", done.stdout), done.stderr
    assert (tmp_path / "course/mine.txt").exists() or left == "our own half"
    assert not (tmp_path / ".course").exists()


def test_set_up_without_git_names_git(bare_clone, tmp_path):
    (tmp_path / "sh").symlink_to("/bin/sh")
    done = python(set_up(1), tmp_path, COURSE_REPO=bare_clone, COURSE_HIDDEN="1", PATH=str(tmp_path))
    assert "could not be fetched: install git and run this cell again" in done.stderr.splitlines()[-1]


def test_set_up_in_a_kernel_without_torch_names_the_cure(tmp_path):
    blind = "import importlib.util; importlib.util.find_spec = lambda name: None\n"
    done = python(blind + set_up(1), tmp_path)
    assert "has no torch: choose the kernel" in done.stderr.splitlines()[-1]


# nbgrader


@pytest.fixture(scope="module")
def gradebook(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # nbgrader calls alembic by name
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield nbgraded(tmp_path_factory.mktemp("nbgrader"))


def nbgraded(root):
    """nbgrader's own run of the first exercise, solutions/ as source: Ada solved it, Bob nothing, Eve all but one."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    slug = EXERCISES[0]
    solution, exercise = (nbformat.read(parts(slug)[kind], as_version=4) for kind in ("solution", "exercise"))
    answers = {k: cell.source for cell in solution.cells if (k := tagged(cell, "task")) is not None}
    without_2 = {k: source for k, source in answers.items() if k != 2}
    students = {"ada": filled(exercise, answers), "bob": exercise, "eve": filled(exercise, without_2)}
    handed_in = {f"submitted/{student}": notebook for student, notebook in students.items()}
    for folder, notebook in {"source": solution, **handed_in}.items():
        (root / folder / slug).mkdir(parents=True)
        nbformat.write(notebook, root / folder / slug / f"{slug}.ipynb")
    api = NbGraderAPI(config=Config({"CourseDirectory": {"root": str(root)}}))
    for done in (api.generate_assignment(slug), *(api.autograde(slug, student) for student in students)):
        assert done["success"], done.get("log") or done.get("error")
    return api.gradebook, root, slug


def filled(exercise, answers: dict[int, str]):
    notebook = nbformat.from_dict(exercise)
    for cell in notebook.cells:
        cell.source = answers.get(tagged(cell, "task"), cell.source)
    return notebook


@pytest.mark.timeout(900)
def test_nbgrader_gives_the_points_of_what_is_solved(gradebook):
    book, _, slug = gradebook
    points = [cell.metadata.nbgrader.points for cell in checks_of(slug)]
    with book:
        submissions = {student: book.find_submission(slug, student) for student in ("ada", "bob", "eve")}
        assert {student: (one.score, one.max_score) for student, one in submissions.items()} == {
            "ada": (sum(points), sum(points)),
            "bob": (0, sum(points)),
            "eve": (sum(points) - points[1], sum(points)),
        }


def checks_of(slug: str) -> list:
    return [cell for cell in read(parts(slug)["exercise"]).cells if tagged(cell, "check") is not None]


def test_nbgraders_release_holds_no_answer_and_no_link_to_one(gradebook):
    _, root, slug = gradebook
    text = (root / "release" / slug / f"{slug}.ipynb").read_text(encoding="utf-8")
    assert "SOLUTION" not in text and "YOUR CODE HERE" in text and "solutions/" not in text


@pytest.mark.parametrize("slug", EXERCISES)
def test_nbgrader_accepts_the_metadata_of_every_exercise(slug):
    from nbgrader.nbgraderformat import MetadataValidator

    for kind in ("solution", "exercise"):
        MetadataValidator().validate_nb(nbformat.read(parts(slug)[kind], as_version=4))
