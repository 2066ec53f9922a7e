"""Lessons in a real browser: cells run, every slider draws a new picture, and nothing is asked of the network.

All cells up to the last slider run. What follows shows nothing that moves and runs in tests/test_course_runs.py; here
only its text is looked at, not what its cells show. So are the texts of the exercises, which hold no slider.
A training that a run of the notebook has done already is looked up (tests/offline/remembered.py).
benchmarks/browser.py runs all cells, in a JupyterLab of its own for each, and writes down how long that takes.
"""

import functools
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import v4, write
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

from tests.browser import lab

ROOT = Path(__file__).resolve().parents[2]


def widget_cells(notebook: Path) -> list[int]:
    code = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    return [place for place, cell in enumerate(code) if "widget" in cell.metadata.get("tags", [])]


# every lesson that there is, and which of its code cells hold a widget
LESSONS = [(path.stem, widget_cells(path)) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
WIDE = 1280  # pixels
SMALL = 1024 - 16  # pixels: a small window and its scroll bar, in which no formula or table needs one of its own
LIMIT = 200  # milliseconds from a key to the new picture
# A slow or busy machine takes longer for every picture: there, how many times as long as for the smallest one.
# Beside each other on an idle machine, those of the lessons took 1.6 to 2.9 times as long.
TIMES = 4
START = f"""import sys
sys.path.append({str(ROOT / "tests/offline")!r})
import remembered
remembered.look_up = True
"""
TINY = """from IPython.display import Image, display
from ipywidgets import IntSlider, VBox, interactive_output
from matplotlib.figure import Figure
from course_lib.plotting import png

def draw(height):
    figure = Figure(figsize=(3, 1))
    figure.subplots().bar(["height"], [height])
    display(Image(png(figure)))

moved, still = IntSlider(5, 0, 20), IntSlider(5, 0, 20)
VBox([moved, interactive_output(draw, {"height": moved})])"""
LONG = f"too long: $${' + '.join(15 * ['abc'])}$$"  # for a small window


@functools.cache
def wide_texts() -> list[str]:
    """The text cells of all lessons and exercises that hold a formula or a table; each hint is open."""
    notebooks = [path for folder in ("notebooks", "exercises") for path in sorted((ROOT / folder).glob("*.ipynb"))]
    cells = [cell for path in notebooks for cell in nbformat.read(path, as_version=4).cells]
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return [text.replace("<details>", "<details open>") for text in texts if "$" in text or "|" in text]


@pytest.fixture(scope="module")
def address(tmp_path_factory, learned):
    folder = tmp_path_factory.mktemp("notebooks")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, folder)
    cells = [v4.new_code_cell(source) for source in (TINY, "still", "1 / 0", "never")]
    cells += [v4.new_markdown_cell(LONG), v4.new_markdown_cell("short: $a + b$")]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "tiny.ipynb")
    shutil.copy(folder / "tiny.ipynb", folder / "smallest.ipynb")
    cells = [v4.new_code_cell(), *map(v4.new_markdown_cell, wide_texts())]
    write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "texts.ipynb")
    alike = {"COURSE_LEARNED": str(learned), "PYTHONHASHSEED": "0"}
    with lab.jupyterlab(folder, tmp_path_factory.mktemp("home"), start=START, **alike) as address:
        yield address


@pytest.fixture(scope="module")
def pages():
    """A browser's pages, which share what they have loaded: JupyterLab itself costs as much as a lesson."""
    with lab.chromium() as browser:
        yield browser.new_context(viewport={"width": WIDE, "height": 1600})


@pytest.fixture(scope="module")
def desk():
    """One or none: the JupyterLab that an earlier test has left open, without a notebook."""
    return []


@pytest.fixture
def opened(pages, address, desk):
    """A function that opens a notebook in the one JupyterLab, as a reader does with lesson after lesson."""

    def open_notebook(name: str) -> lab.Notebook:
        if not desk:
            desk.append(lab.Notebook(pages.new_page()))
            desk[0].start(address(f"{name}.ipynb"))
        else:
            desk[0].open(f"{name}.ipynb")
        return desk[0]

    yield open_notebook
    try:
        for notebook in desk:
            notebook.close()
    except PlaywrightError:  # of whatever a failed test has left behind: the next one begins anew
        desk.pop().page.close()  # (that closing works where nothing failed, the instrument's test sees)


@pytest.fixture(scope="module")
def smallest(pages, address):
    """A function that measures, at this moment, the milliseconds from a key to the picture of the tiny notebook."""

    @functools.cache  # opened by the first slow slider
    def tiny() -> lab.Notebook:
        notebook = lab.Notebook(pages.new_page())
        notebook.start(address("smallest.ipynb"))  # not the other's file: two views of one share a kernel
        notebook.run_all()
        return notebook

    return lambda: statistics.median(lab.eight_moves(tiny(), tiny().sliders[0]))


def test_the_instrument_sees_what_it_should(opened):
    """A picture that follows, one that does not, a cell that fails, a long formula, a request for another machine."""
    notebook = opened("tiny")
    notebook.run_all()
    moved, still = notebook.sliders
    assert notebook.press(moved, "ArrowRight") < 5000 and moved.get_attribute("aria-valuenow") == "6.0"
    assert notebook.drag(moved) < 5000
    assert notebook.press(still, "ArrowRight", patience=500) is None
    assert "ZeroDivisionError" in notebook.tracebacks[0] and notebook.not_run() == 1
    assert notebook.requests_elsewhere == []
    notebook.page.evaluate("fetch('https://example.org').catch(() => null)")
    assert notebook.requests_elsewhere == ["https://example.org/"]
    assert notebook.too_wide(WIDE) == [] and [text[:8] for text in notebook.too_wide(SMALL)] == ["too long"]
    notebook.close()
    notebook.open("smallest.ipynb")
    assert notebook.requests_elsewhere == [] and notebook.page.viewport_size["width"] == WIDE
    assert notebook.not_run() == 4, "another notebook, of whose cells none has run"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("slug, places", LESSONS, ids=[slug for slug, _ in LESSONS])
def test_lesson_in_the_browser(opened, slug, places, smallest, tmp_path):
    notebook = opened(slug)
    notebook.run_up_to(places[-1])
    assert notebook.tracebacks == [] and notebook.not_run(places[-1] + 1) == 0
    assert notebook.widgets == len(places)
    for slider in notebook.sliders:
        name = slider.get_attribute("aria-valuetext")
        assert is_quick(notebook, slider, smallest), f"{slug}: the slider at {name} is slow"
        assert notebook.drag(slider) is not None, f"{slug}: dragging the slider at {name} changes no picture"
    assert notebook.requests_elsewhere == []
    notebook.page.screenshot(path=tmp_path / f"{slug}.png")
    assert notebook.too_wide(SMALL) == [], (
        f"{slug}: formulas or tables are wider than a window of {SMALL} pixels; break them in two"
    )


def test_no_formula_or_table_needs_a_scroll_bar(opened):
    """All in one notebook: MathJax sets each index wider once it has drawn a letter with an index and a power."""
    notebook = opened("texts")
    texts = notebook.page.locator(".jp-MarkdownCell .jp-RenderedHTMLCommon")
    expect(texts).to_have_count(len(wide_texts()))
    expect(texts.filter(has_text="$")).to_have_count(0, timeout=60_000)  # each formula is drawn
    assert notebook.too_wide(SMALL) == [], f"wider than a window of {SMALL} pixels; break them in two"


def is_quick(notebook, slider, smallest) -> bool:
    """Within the limit, or as quick as the smallest picture lets one expect; in the best of four rounds."""
    for _ in range(4):
        moves, taken = lab.eight_moves(notebook, slider), []
        if most_within(LIMIT, moves, taken) or most_within(TIMES * smallest(), moves, taken):
            return True
    return False


def most_within(limit: float, moves: Iterator[float], taken: list[float]) -> bool:
    """Whether five of eight moves take at most so many milliseconds.

    Those in ``taken`` have been made; of ``moves``, no more are made than decide it.
    """
    while (quick := sum(one <= limit for one in taken)) < 5 and len(taken) - quick < 4:
        taken.append(next(moves))
    return quick >= 5


@pytest.mark.parametrize(
    "taken, smallest, quick", [(190, 40, True), (210, 40, False), (350, 90, True), (370, 90, False)]
)
def test_a_slider_is_slow_where_the_machine_does_not_explain_it(monkeypatch, taken, smallest, quick):
    monkeypatch.setattr(lab, "eight_moves", lambda *_: iter([taken] * 8))
    assert is_quick(None, None, lambda: smallest) == quick


@pytest.mark.parametrize("slow, quick, left", [(0, True, 3), (3, True, 0), (4, False, 4), (8, False, 4)])
def test_a_slider_is_quick_when_five_of_eight_pictures_are(slow, quick, left):
    moves = iter([300] * slow + [100] * (8 - slow))
    assert most_within(200, moves, []) == quick and len([*moves]) == left


@pytest.mark.parametrize("taken, pressed", [([300] * 4, 1), ([100] * 3 + [300] * 4, 0)])
def test_the_moves_that_were_slow_are_compared_with_the_smallest_picture_too(taken, pressed):
    moves = iter([300] * 4)
    assert most_within(350, moves, taken) and len([*moves]) == 4 - pressed


def test_a_missing_browser_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(lab, "find_chromium", lambda: None)
    with pytest.raises(FileNotFoundError, match=r"no Chromium; install Chromium .* or run: .*playwright install"):
        lab.chromium().__enter__()


def test_a_server_that_dies_says_why(tmp_path):
    with pytest.raises(TimeoutError, match=r"did not start.*\n.*nowhere"):
        lab.jupyterlab(tmp_path / "nowhere", tmp_path).__enter__()
