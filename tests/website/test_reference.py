"""``make site`` renders every docstring: no warning, and each mechanism with its paper, formula and sections."""

import html
import inspect
import re
from pathlib import Path

import pytest

from course_lib import diagrams
from course_lib.catalog import CATALOG, mechanism

ROOT = Path(__file__).resolve().parents[2]
ROWS = pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)


def words(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def module_part(site: Path, row) -> str:
    """The section of the room's page that belongs to the row's module."""
    page = (site / f"reference/{row.room}.html").read_text(encoding="utf-8")
    start = page.index(f'id="module-{row.module.__module__}"')
    return page[start:].split('id="module-', 2)[1]


def class_part(site: Path, row) -> str:
    """From the name of the class to the next class or function of its module."""
    part = module_part(site, row)
    start = part.index(f'id="{row.module.__module__}.{row.name}"')
    return re.split(r'<dl class="py (?:class|function)">', part[start:])[0]


def formula(row) -> str:
    """The first indented block of the docstring."""
    block = re.search(r"\n\n((?:    +\S.*\n)+)", inspect.getdoc(row.module) + "\n")
    assert block, f"{row.name} has no formula: indent it by four, between empty lines"
    return inspect.cleandoc(block[1])


@ROWS
def test_a_formula_keeps_its_blanks(site, row):
    blocks = re.findall(r"<pre>(.*?)</pre>", class_part(site, row), flags=re.DOTALL)
    assert formula(row) in [inspect.cleandoc(words(block)) for block in blocks]


@ROWS
def test_the_paper_is_named(site, row):
    text = words(module_part(site, row))
    numbers = re.findall(r"arXiv (\d{4}\.\d{4,5})", row.paper)
    assert numbers or "no arXiv" in row.paper
    assert [number for number in numbers if number not in text] == []


@ROWS
def test_sections_are_sections(site, row):
    part, source = class_part(site, row), inspect.getdoc(row.module)
    for written, shown in {"Args": "Parameters", "Shape": "Shape", "Learned": "Learned", "Raises": "Raises"}.items():
        heading = re.search(rf'<(?:dt|p)[^>]*class="(?:field|rubric)[^>]*>{shown}', part)
        assert bool(heading) == (f"\n{written}:" in source), written
        assert f"<p>{written}:" not in part


@ROWS
def test_a_mechanism_shows_its_diagram_and_says_it_in_words(site, row):
    pictures = re.findall(r'<img class="only-\w+ diagram" src="([^"]+)" alt="([^"]+)"', class_part(site, row))
    assert len(pictures) == 2, "one for each ground"
    for source, alt in pictures:
        assert (site / "reference" / source).read_text(encoding="utf-8").startswith("<?xml")
        assert html.unescape(alt) == diagrams.words(row.module)


@ROWS
def test_attention_and_forward_are_listed(site, row):
    for method in ("attention", "forward"):
        assert f'id="{row.module.__module__}.{row.name}.{method}"' in module_part(site, row)


def test_a_table_is_a_table(site):
    part = class_part(site, mechanism("NonLocal"))
    assert re.search(r'<table class="[^"]*"', part) and "concatenation" in part


def test_what_works_is_a_table_of_all_modules(site):
    page = words((site / "reference/works.html").read_text(encoding="utf-8"))
    for row in CATALOG:
        assert row.name in page
        for name, why in row.cannot.items():
            assert f"{row.name}, {name}: {why}." in " ".join(page.split())


def test_every_module_has_its_place(site):
    shown = {
        name
        for page in site.glob("reference/*.html")
        for name in re.findall(r'id="module-([\w.]+)"', page.read_text())
    }
    files = {".".join(file.with_suffix("").relative_to(ROOT).parts) for file in ROOT.glob("course_lib/*/*.py")}
    wanted = {name for name in files if not re.search(r"\.(authoring|grading|__init__|__main__)\b", name)}
    tools = ("catalog", "published", "recording", "training", "models", "plotting", "interactive", "exercises")
    assert (wanted | {f"course_lib.{tool}" for tool in tools}) - shown == set()
