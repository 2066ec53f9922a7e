"""What a result follows from: one changed byte anywhere in it gives another hash, a checkout with CRLF the same."""

import ast

import pytest

from course_lib.authoring.closure import as_stored, closure, imports, library_hash
from course_lib.authoring.places import parts
from course_lib.grading import assignment

SLUG = "01_averages"
FILES = {
    "notebooks/src/01_averages.py": "from course_lib.loads import load\nfrom course_lib.data import photographs\n",
    "solutions/src/01_averages.py": "from course_lib.exercises import Exercise\n",
    "tests/hidden/test_01_averages.py": "from course_lib.loads import load\nfrom tests.properties import same\n",
    "tests/properties.py": "def same(x, y):\n    from tests.hidden.helpers import close\n",  # an import inside
    "tests/hidden/helpers.py": "close = 1e-9\n",
    "tests/other.py": "",
    "course_lib/__init__.py": "__version__ = '1'\n",
    "course_lib/loads.py": 'def load():\n    return Path("weights.npz"), Path("texts.md")\n',
    "course_lib/exercises.py": "",
    "course_lib/other.py": "",
    "course_lib/data/__init__.py": "",
    "course_lib/words/texts.md": "text\n",
    "course_lib/data/photographs.py": 'def open(name):\n    return f"{name}.jpg"\n',
    "course_lib/data/weights.npz": b"PK\0\r\n\1",
    "course_lib/data/other.npz": b"PK\0",
    "course_lib/data/cat.jpg": b"\xff\0",
    "course_lib/grading/run.py": "from course_lib.authoring.builder import stub\n",
    "course_lib/grading/sandbox/host.py": "import os\n",
    "course_lib/authoring/builder.py": "from course_lib.authoring import sources\n",
    "course_lib/authoring/sources.py": "",
    "course_lib/authoring/tables.py": "",
}
OUTPUTS = {"course_lib/loads.py", "course_lib/data/photographs.py", "course_lib/data/__init__.py"}
OUTPUTS |= {"course_lib/data/weights.npz", "course_lib/data/cat.jpg", "course_lib/words/texts.md"}
ELSEWHERE = {"notebooks/src/01_averages.py", "course_lib/authoring/tables.py"}
ELSEWHERE |= {name for name in FILES if "other" in name} | (
    OUTPUTS - {"course_lib/loads.py", "course_lib/data/weights.npz", "course_lib/words/texts.md"}
)


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.setattr(assignment, "ROOT", tmp_path)  # the grader hashes itself, too
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


def outputs(root):
    return library_hash(parts(SLUG, root)["lesson source"], root)


def marks(root):
    files = parts(SLUG, root)
    return assignment.version_of(files["solution source"], files["hidden tests"], root)


@pytest.mark.parametrize("name", FILES)
def test_one_byte_counts_where_it_may_and_nowhere_else(course, name):
    before = outputs(course), marks(course)
    content = (course / name).read_bytes()
    (course / name).write_bytes(content + b"#")
    assert (outputs(course) != before[0]) == (name in OUTPUTS)
    assert (marks(course) != before[1]) == (name not in ELSEWHERE)
    (course / name).write_bytes(content)
    assert (outputs(course), marks(course)) == before


def test_line_ends_of_a_text_do_not_count_and_the_bytes_of_data_do(course):
    before = outputs(course), marks(course)
    for path in course.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert (outputs(course), marks(course)) == before
    data = course / "course_lib/data/weights.npz"
    data.write_bytes(data.read_bytes().replace(b"\r\n", b"\n"))
    assert outputs(course) != before[0] and marks(course) != before[1]
    assert as_stored(b"a\r\nb") == b"a\nb" and as_stored(b"a\r\n\0") == b"a\r\n\0"


def test_a_file_that_moved_counts(course):
    before = marks(course)
    (course / "course_lib/data/weights.npz").rename(course / "course_lib/data/best.weights.npz")
    assert marks(course) != before


def test_imports_of_every_form_are_found(tmp_path):
    files = ["a/__init__.py", "a/b.py", "a/c.py", "d.py", "e/__init__.py"]
    for name in files:
        (tmp_path / "course_lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "course_lib" / name).write_text("")
    tree = ast.parse(
        "from course_lib.a import b\nimport course_lib.a.c as c, numpy\nif True:\n    from course_lib.e import f\n"
    )
    names = {path.relative_to(tmp_path / "course_lib").as_posix() for path in imports(tree, tmp_path)}
    assert names == {"a/__init__.py", "a/b.py", "a/c.py", "e/__init__.py"}


def test_files_that_import_each_other_end(course):
    (course / "tests/hidden/helpers.py").write_text("import tests.properties\n")
    found = closure([course / "tests/properties.py"], course)
    assert {path.name for path in found} == {"properties.py", "helpers.py"}
