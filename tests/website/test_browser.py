"""The website in a real browser: sliders move by keyboard, search finds, nothing is asked elsewhere, axe agrees."""

import http.server
import json
import threading
from functools import partial
from itertools import pairwise, product
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

from course_lib.authoring.tables import written
from tests.browser import lab
from tests.website.conftest import ROOT

LESSON = "notebooks/09_non_local"
KINDS = ("index", LESSON, "exercises/09_non_local", "mechanisms/NonLocal", "compare", "papers", "instructors")
MORE = ("lessons", "mechanisms", "questions", "open", "glossary", "engineers", "reference/channel", "search", "404")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Say nothing of each request."""


@pytest.fixture(scope="module")
def address(site):
    """The site as a server gives it."""
    handler = partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with lab.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def readers(browser):
    """One who reads light pages, and one who reads dark ones; they keep what they have fetched."""
    return {colours: browser.new_context(color_scheme=colours) for colours in ("light", "dark")}


@pytest.fixture
def visit(readers, address):
    """A function that opens a page, and the list of addresses that pages asked for."""
    asked, pages = [], []

    def visit(name: str, *, dark: bool = False, width: int = 1280):
        page = readers["dark" if dark else "light"].new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/{name}.html")
        return page

    visit.asked = asked
    yield visit
    for page in pages:
        page.close()
    assert [one for one in asked if not one.startswith((address, "data:", "blob:"))] == []


def frame(page) -> str:
    return page.locator(".steer .frame").first.evaluate("frame => getComputedStyle(frame).backgroundPosition")


def test_a_slider_moves_by_keyboard_and_says_its_value(visit):
    page = visit(LESSON)
    slider = page.locator(".steer input[type=range]").last
    before, said = frame(page), slider.get_attribute("aria-valuetext")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert frame(page) != before and slider.get_attribute("aria-valuetext") != said
    page.keyboard.press("ArrowRight")
    assert frame(page) == before and slider.get_attribute("aria-valuetext") == said


def test_the_picture_on_the_home_page_moves_until_the_reader_takes_over(visit):
    page = visit("index")
    before = frame(page)
    page.wait_for_function(
        "before => getComputedStyle(document.querySelector('.frame')).backgroundPosition != before", arg=before
    )
    page.locator(".steer input[type=range]").nth(1).press("ArrowRight")
    taken = frame(page)
    page.wait_for_timeout(1200)
    assert frame(page) == taken


def test_formulas_are_set_without_a_network(visit):
    page = visit(LESSON)
    page.wait_for_selector("mjx-container svg")
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert any(one.endswith("tex-svg.js") for one in {one.split("?")[0] for one in visit.asked})


def test_search_finds_a_lesson_and_a_mechanism(visit):
    page = visit("search")
    page.goto(f"{page.url}?q=squeeze")
    page.wait_for_selector("ul.search li a")
    found = page.locator("ul.search li a").evaluate_all("links => links.map(link => link.href.split('?')[0])")
    assert any("/notebooks/03" in link for link in found) and any("/mechanisms/" in link for link in found)
    excerpt = page.locator("ul.search li .context").first
    assert "System Settings" not in excerpt.inner_text(), "of the article, not of the buttons above it"


def test_a_folded_answer_opens(visit):
    page = visit(LESSON)
    answer = page.locator("details.hide.below-input").first
    assert not answer.locator(".cell_output, .output").first.is_visible()
    answer.locator("summary").click()
    assert answer.locator(".output").first.is_visible()


def test_a_long_line_of_code_is_seen_to_its_end_and_copied_as_it_was(visit):
    page = visit(LESSON, width=390)
    cut = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length"
    assert page.locator("div.cell_input pre").evaluate_all(cut) == 0
    code = json.loads((ROOT / f"{LESSON}.ipynb").read_text(encoding="utf-8"))["cells"]
    shown = page.locator("div.cell_input pre").evaluate_all("all => all.map(one => one.textContent.trim())")
    sources = ["".join(cell["source"]) for cell in code if cell["cell_type"] == "code"]
    assert set(shown) <= set(sources)


STARTS = """all => all.filter(one => one.textContent.trim()).map(one => {
  const nodes = document.createTreeWalker(one, NodeFilter.SHOW_TEXT), letter = document.createRange();
  const box = (node, at) => (letter.setStart(node, at), letter.setEnd(node, at + 1), letter.getBoundingClientRect());
  const first = box(nodes.nextNode(), 0);
  while (!nodes.currentNode.data.trim()) nodes.nextNode();
  const shown = box(nodes.currentNode, nodes.currentNode.data.search(/\\S/));
  return [first.left - one.getBoundingClientRect().left, Math.abs(shown.top - first.top) < 3];
})"""


def test_on_a_telephone_a_line_begins_where_its_spaces_say_and_in_its_first_row(visit):
    starts = visit("exercises/19_which_one", width=390).locator("div.cell_input .line").evaluate_all(STARTS)
    assert len(starts) > 100 and {left for left, _ in starts} == {0}
    assert sum(not first_row for _, first_row in starts) <= 3, "a word longer than a row may stand below"


def test_on_a_telephone_no_number_is_torn_and_a_remark_starts_where_it_fits(visit):
    page = visit(LESSON, width=390)
    rows = "all => all.map(one => one.getClientRects().length)"
    assert set(page.locator("div.cell_input .line .mf:visible").evaluate_all(rows)) == {1}
    assert set(page.locator("div.cell_input .line .c1:visible").evaluate_all(rows)) == {1}


TORN = """all => all.flatMap(one => {
  const nodes = document.createTreeWalker(one, NodeFilter.SHOW_TEXT), part = document.createRange(), found = [];
  while (nodes.nextNode()) {
    if (nodes.currentNode.parentElement.closest("code, pre, mjx-container")) continue;
    for (const formula of nodes.currentNode.data.matchAll(/\\d\\s%|\\d\\s[×=≈]\\s\\d|[=≈]\\s\\d/g)) {
      part.setStart(nodes.currentNode, formula.index);
      part.setEnd(nodes.currentNode, formula.index + formula[0].length);
      const tops = [...part.getClientRects()].map(row => Math.round(row.top));
      found.push([formula[0], new Set(tops).size]);
    }
  }
  return found;
})"""


@pytest.mark.parametrize("name", ["notebooks/04_richer_squeeze", "notebooks/08_deformable"])
def test_on_a_telephone_no_line_of_text_ends_within_a_number_or_a_formula(visit, name):
    found = visit(name, width=390).locator("article :is(p, td, li)").evaluate_all(TORN)
    assert len(found) > 10 and [formula for formula, rows in found if rows > 1] == []


def test_a_telephone_shows_the_picture_of_the_home_page_at_once_and_above_its_sliders(visit):
    steer = visit("index", width=390).locator(".steer")
    picture, slider = (steer.locator(one).first.bounding_box() for one in (".frame", "input"))
    assert picture["y"] + picture["height"] <= min(slider["y"], 664), "a telephone's window between its bars"


def test_what_goes_on_to_the_right_fades_until_one_has_moved_there(visit):
    page = visit(LESSON, width=390)
    page.wait_for_selector("mjx-container svg")
    page.wait_for_function("document.querySelectorAll('.goes-on').length > 3")
    tables = page.locator(".pst-scrollable-table-container")
    cut = tables.evaluate_all("all => all.map(one => one.scrollWidth > one.clientWidth + 2)")
    assert True in cut and False in cut
    fading = "all => all.map(one => getComputedStyle(one).maskImage !== 'none')"
    assert tables.evaluate_all(fading) == cut
    wide = tables.nth(cut.index(True))
    wide.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    page.wait_for_function("one => getComputedStyle(one).maskImage === 'none'", arg=wide.element_handle())


def printed(page):
    """The outputs that are read in lines, and not moved along like a table."""
    return page.locator("div.cell_output .stream pre:visible:has(.line)")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [LESSON, "notebooks/14_vision_transformer"])
def test_a_printed_row_is_read_to_its_end(visit, name, width):
    outputs = printed(visit(name, width=width))
    assert outputs.count() > 3
    assert outputs.evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length") == 0
    assert set(outputs.locator(".whole").evaluate_all("all => all.map(one => one.getClientRects().length)")) == {1}


@pytest.mark.parametrize("width", [1280, 390])
def test_a_long_printed_sentence_is_no_table(visit, width):
    outputs = printed(visit("notebooks/14_vision_transformer", width=width))
    assert outputs.filter(has_text="neighbours in a fresh table").count() == 1


@pytest.mark.parametrize(
    "name, width, rows",
    [("04_richer_squeeze", 1280, 1), ("03_squeeze_excitation", 390, 2), ("04_richer_squeeze", 390, 3)],
)
def test_three_formulas_of_one_line_stand_below_each_other_where_there_is_no_room(visit, name, width, rows):
    page = visit(f"exercises/{name}", width=width)
    page.wait_for_selector(".formulas mjx-container svg")
    middles = (
        page.locator(".formulas")
        .first.locator("mjx-container")
        .evaluate_all("all => all.map(one => one.getBoundingClientRect()).map(box => (box.top + box.bottom) / 2)")
    )
    assert len(middles) == 3 and 1 + sum(below - above > 15 for above, below in pairwise(sorted(middles))) == rows


@pytest.mark.parametrize("dark", [False, True])
def test_a_lessons_diagram_is_as_light_as_its_page_and_a_telephone_moves_along_it(visit, dark):
    page = visit(LESSON, dark=dark, width=390)
    page.locator("div.scroll:has(img.diagram)").scroll_into_view_if_needed()  # pictures are fetched when seen
    shown = page.locator("img.diagram:visible")
    assert shown.evaluate("image => image.src").endswith("NonLocal-dark.svg" if dark else "NonLocal-light.svg")
    assert shown.bounding_box()["width"] >= 600, "its letters are read"
    assert page.locator("div.scroll:has(img.diagram)").evaluate("one => one.clientWidth") <= 390


def test_two_folds_of_one_cell_do_not_cover_each_other(visit):
    page = visit("notebooks/07_spatial_transformer")
    tops = page.locator(".cell > details > summary").evaluate_all(
        "all => all.map(one => [one.getBoundingClientRect().top, one.getBoundingClientRect().bottom])"
    )
    assert len(tops) > 20 and all(above[1] <= below[0] for above, below in pairwise(tops))


def test_a_lost_address_in_a_folder_of_any_name_finds_its_styles(browser, site):
    page = browser.new_page()

    def give(route):
        file = site / urlsplit(route.request.url).path.removeprefix("/anywhere/")
        route.fulfill(path=file if file.is_file() else site / "404.html")

    page.route("http://localhost/anywhere/**", give)
    for lost in ("404.html", "notebooks/99_lost.html", "reference/deep/er/lost.html"):
        page.goto(f"http://localhost/anywhere/{lost}")
        shown = page.locator(".bd-sidebar-primary").evaluate("one => getComputedStyle(one).display")
        assert shown == "flex" and page.locator("h1").last.inner_text().startswith("This page does not exist")
        assert (
            page.get_by_role("link", name="lessons")
            .last.evaluate("one => one.href")
            .endswith("/anywhere/lessons.html")
        )
    page.close()


def test_the_table_is_sorted_by_a_button(visit):
    page = visit("compare")
    page.get_by_role("button", name="Parameters").click()
    cells = "rows => rows.map(row => Number(row.cells[2].dataset.value))"
    values = page.locator("table.sortable tbody tr").evaluate_all(cells)
    assert values == sorted(values) and len(set(values)) > 20


LONG_NAMES = ("mechanisms/CrossFrameLocalInterpolation", "reference/spatial", "reference/tools", "genindex")


@pytest.mark.parametrize(
    "name", sorted({*KINDS, *MORE, *LONG_NAMES, *(f"notebooks/{slug}" for slug in written(ROOT))})
)
def test_a_page_fits_a_telephone(visit, name):
    page = visit(name, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_each_arrow_beside_the_pages_says_what_it_opens(visit):
    arrows = visit("mechanisms/NonLocal").locator(".bd-sidenav summary")
    names = arrows.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert "pages below 09 · Non-local" in names and "pages below" not in {name.strip() for name in names}


@pytest.mark.parametrize("name, dark", [*product(KINDS, (False, True)), *product(MORE, (False,))])
def test_axe_finds_nothing(visit, name, dark):
    page = visit(name, dark=dark)
    page.wait_for_load_state("networkidle")
    found = Axe().run(page, options=RULES).response
    assert {one["id"]: [node["target"] for node in one["nodes"]][:3] for one in found["violations"]} == {}
    assert len(found["passes"]) > 3, "axe looked at something"
