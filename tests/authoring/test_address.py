"""The address stands in one place: changing it rewrites badges, set-up cells and links, and executes nothing."""

import subprocess
import sys

import nbformat
import pytest
import yaml

import course_lib
from course_lib.authoring import builder
from course_lib.authoring.address import PLACEHOLDER, ref, repository, set_up
from course_lib.authoring.builder import KINDS, build, stale
from course_lib.authoring.places import parts, slugs
from course_lib.cli import main
from course_lib.exercises import ROOT
from tests.tiny_course import tiny_course

SLUG = "01_averages"
WORDS = "Unclear, wrong, or a stumble?"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A tiny course that was executed once; a second execution is an error."""
    root = tiny_course(tmp_path)
    (root / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 0.0.1\nrepository-code: x\n")
    monkeypatch.setattr(builder, "run", lambda notebook, *, folder, name: [])
    assert main(["build"], root=root) == 0
    monkeypatch.setattr(builder, "run", None)
    return root


def move(root, address):
    path = root / "pyproject.toml"
    path.write_text(path.read_text().replace("https://github.com/somebody/a-course", address))


def text_of(root, kind):
    return parts(SLUG, root)[kind].read_text(encoding="utf-8")


def test_a_new_address_rewrites_everything_and_executes_nothing(course):
    move(course, "https://github.com/else/where")
    assert [stale(SLUG, kind, course) for kind in KINDS] == [
        "does not match its source: the address or version in the cells that we add"
    ] * 3
    assert main(["build"], root=course) == 0
    assert main(["build", "--check"], root=course) == 0
    for kind in KINDS:
        assert "https://github.com/else/where" in text_of(course, kind) and "somebody" not in text_of(course, kind)
    assert "https://github.com/else/where/issues/new?template=lesson.yml&title=01_averages" in text_of(
        course, "lesson"
    )
    readme = (course / "README.md").read_text(encoding="utf-8")
    assert "colab.research.google.com/github/else/where/" in readme
    citation = yaml.safe_load((course / "CITATION.cff").read_text())
    assert citation["repository-code"] == "https://github.com/else/where"
    assert citation["version"] == course_lib.__version__


def test_outputs_survive_a_new_address(course):
    path = parts(SLUG, course)["lesson"]
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code[-1].outputs = [nbformat.v4.new_output("stream", text="kept")]
    nbformat.write(notebook, path)
    move(course, "https://github.com/else/where")
    assert build(SLUG, "lesson", course) == "written"
    assert [cell.outputs[0].text for cell in nbformat.read(path, 4).cells if cell.get("outputs")] == ["kept"]


def test_a_placeholder_is_linked_to_nowhere(course):
    move(course, f"{PLACEHOLDER}a-course")
    assert main(["build"], root=course) == 0
    for kind in KINDS:
        text = text_of(course, kind)
        assert "OWNER" not in text and "Open in Colab" not in text and WORDS not in text
    assert "OWNER" not in (course / "README.md").read_text() and "| – |" in (course / "README.md").read_text()


def test_the_course_shows_badges_exactly_where_its_address_is_known():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    known = bool(repository(ROOT))
    assert ("pyproject.toml` still says OWNER" in readme) != known
    for slug in slugs():
        text = parts(slug)["lesson"].read_text(encoding="utf-8")
        assert ("Open in Colab" in text, WORDS in text, "OWNER" in text) == (known, known, False), slug


def test_the_feedback_link_is_the_last_cell_of_a_lesson_alone(course):
    cells = {kind: nbformat.read(parts(SLUG, course)[kind], 4).cells for kind in KINDS}
    assert {kind: WORDS in cells[kind][-1].source for kind in KINDS} == {
        "lesson": True, "solution": False, "exercise": False,
    }  # fmt: skip


def test_a_release_is_fetched_at_its_tag():
    assert ref("1.2.0") == "v1.2.0" and ref("1.3.0.dev0") == "main"
    assert f'"COURSE_REF", "{ref()}"' in set_up(ROOT).source


FAKE_PIP = """
import os, pathlib, sys
sys.meta_path[:] = [one for one in sys.meta_path if not getattr(one, "__module__", "").startswith("__editable__")]
sys.path[:] = [one for one in sys.path if not (pathlib.Path(one) / "course_lib").is_dir()] + ["site"]
os.mkdir("site")
def system(command):
    print(command)
    pathlib.Path("site/course_lib.py").touch()
    return 0
os.system = system
"""


def test_a_published_course_is_installed_at_the_version_of_the_notebook(tmp_path):
    code = set_up(ROOT, published=True).source
    assert len(code.splitlines()) <= 6 and "git" not in code
    command = [sys.executable, "-c", f"{FAKE_PIP}{code}\nimport course_lib\n{code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    asked = f'"{sys.executable}" -m pip install -q attention-in-vision=={course_lib.__version__}\n'
    assert done.stdout == asked, done.stderr
