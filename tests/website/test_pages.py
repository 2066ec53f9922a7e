"""The pages of the website: every lesson and mechanism has one, no link is broken, and all of it is small."""

import base64
import gzip
import html
import io
import json
import pickle
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import torch
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from course_lib.authoring.address import BADGE
from course_lib.authoring.places import parts
from course_lib.authoring.tables import written
from course_lib.authoring.website import chart, needs, reach, syllabus
from course_lib.authoring.website.cards import Card, cards
from course_lib.authoring.website.course import lessons, texts
from course_lib.authoring.website.glossary import glossary
from course_lib.authoring.website.notebooks import still
from course_lib.authoring.website.open_questions import open_questions
from course_lib.authoring.website.papers import bibtex, papers
from course_lib.catalog import CATALOG, mechanism
from tests.website.conftest import ROOT

MIB = 2**20


class Addresses(HTMLParser):
    """What a page links to, what it loads, and the names that can be linked to."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = {""}
        self.without_words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        self.names |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in ("script", "img") and "src" in found:
            self.loads.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(found["href"])
        if tag == "img" and "alt" not in found:
            self.without_words.append(found["src"][:80])


@cache
def read(page: Path) -> Addresses:
    return Addresses(page.read_text(encoding="utf-8"))


def pages(site: Path) -> list[Path]:
    return sorted(
        page for page in site.rglob("*.html") if "_static" not in page.parts
    )  # there the theme has templates


def test_every_lesson_exercise_and_mechanism_has_its_page(site):
    for slug in written(ROOT):
        assert (site / f"notebooks/{slug}.html").exists()
    for lesson in lessons(ROOT):
        assert lesson.exercise is None or (site / f"exercises/{lesson.slug}.html").exists()
    assert {path.stem for path in (site / "mechanisms").glob("*.html")} == {row.name for row in CATALOG}


def test_no_link_of_ours_is_broken(site):
    broken = []
    for page in pages(site):
        for link in read(page).links:
            parts = urlsplit(link)
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if parts.scheme or parts.netloc or "genindex" in page.name:
                continue
            if not target.is_file() or (
                target.suffix == ".html" and unquote(parts.fragment) not in read(target).names
            ):
                broken.append((page.relative_to(site).as_posix(), link))
    assert broken == []


def test_the_list_of_pages_is_the_same_everywhere_and_marks_the_page_and_what_it_lies_in(site):
    lists, marked = set(), 0
    for page in site.rglob("*.html"):
        if found := re.search(r'<nav class="bd-links.*?</nav>', page.read_text(encoding="utf-8"), re.DOTALL):
            drawn = BeautifulSoup(found[0], "html.parser")
            own = drawn("a", href="#")
            around = [item for link in own for item in link.find_parents("li")][::-1]
            assert drawn("a", class_="current") == own, page
            assert drawn("li", class_="current") == drawn("li", class_="active") == around, page
            assert drawn("details", open=True) == [item.details for item in around if item.details], page
            ends = [page if link in own else (page.parent / link["href"]).resolve() for link in drawn("a")]
            lists.add((*zip(ends, (link.text for link in drawn("a")), strict=True),))
            marked += len(own)
    assert len(lists) == 1 and marked == len(*lists)


def test_nothing_is_loaded_from_elsewhere_and_all_that_is_loaded_is_there(site):
    for page in pages(site):
        for address in read(page).loads:
            parts = urlsplit(address)
            assert parts.scheme in ("", "data") and not parts.netloc, (page.name, address)
            assert parts.scheme or (page.parent / unquote(parts.path)).is_file(), (page.name, address)


def test_every_picture_has_an_alternative_text(site):
    assert {page.name: read(page).without_words for page in pages(site) if read(page).without_words} == {}


@pytest.mark.parametrize("name", ["SpatialTransformer", "GranularityDescriptors", "AttentionProposal", "SCA"])
def test_what_a_card_says_to_use_runs_and_gives_the_shape_that_it_says(site, name):
    page = (site / f"mechanisms/{name}.html").read_text(encoding="utf-8")
    code = html.unescape(re.sub("<[^>]+>", "", re.findall(r'<div class="highlight-python.*?</div>', page, re.S)[0]))
    names: dict = {}
    exec(code, names)
    card = next(card for card in cards() if card.row.name == name)
    made = names["block"].eval()(*(torch.rand(shape) for shape in card.row.inputs(1, 96, 32, 32)))
    assert card.output.endswith(" → " + " × ".join(map(str, made.shape)))


def test_no_card_of_a_lesson_shows_the_marks_of_markdown(site):
    page = (site / "lessons.html").read_text(encoding="utf-8")
    assert re.findall(r"\*\w+\*", page) == []


def test_no_mark_of_an_author_is_left_on_a_page(site):
    """Backticks that close nowhere, or stand in HTML; a first name that became a list."""
    for path in site.rglob("*.html"):
        text = re.sub(r"<(pre|script|title)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "``" not in text and not re.search(r"<summary>[^<]*`", text) and "upperalpha" not in text, path


def test_folds_that_follow_each_other_tell_what_is_in_them(site):
    page = (site / "exercises/05_gated_channel.html").read_text(encoding="utf-8")
    said = re.findall("Show the source[^<]*", page)
    assert len(said) > 5 and len(set(said)) == len(said)


def test_no_set_up_badge_answer_or_placeholder_reaches_a_page(site):
    for page in [*site.glob("notebooks/*.html"), *site.glob("exercises/*.html")]:
        text = page.read_text(encoding="utf-8")
        for word in ("sparse-checkout", "Open in Colab", "BEGIN SOLUTION", "github.com/OWNER"):
            assert word not in text, f"{page.name} shows {word}"


def test_a_lesson_with_a_sprite_shows_its_sliders_and_one_without_says_where_they_move(site):
    for slug in written(ROOT):
        text = (site / f"notebooks/{slug}.html").read_text(encoding="utf-8")
        sprite = ROOT / f"site/sliders/{slug}-1.json"
        if sprite.exists():
            sliders = json.loads(sprite.read_text(encoding="utf-8"))["sliders"]
            assert text.count('type="range"') == len(sliders)
            assert (site / f"_static/{slug}-1.webp").is_file()
        else:
            assert "These sliders move in JupyterLab" in text


def test_a_later_build_looks_at_a_lesson_s_sprite_and_exercise(site):
    environment = pickle.loads((site.parent / "doctrees/environment.pickle").read_bytes())
    for slug in written(ROOT):
        known = {ROOT / one for one in environment.dependencies[f"notebooks/{slug}"]}
        files = {ROOT / f"site/sliders/{slug}-1.json", parts(slug)["exercise"], parts(slug)["solution source"]}
        assert {file for file in files if file.exists()} <= known, slug


def test_a_source_has_the_name_of_its_page_and_no_page_tells_where_it_was_built(site):
    sources = [path.relative_to(site / "_sources") for path in (site / "_sources").rglob("*.*") if path.is_file()]
    assert sources and [str(path) for path in sources if not (site / path.with_suffix(".html")).exists()] == []
    for path in [*pages(site), site / "searchindex.js"]:
        text = path.read_text(encoding="utf-8")
        assert "/doctrees/pages/" not in re.sub('"filenames":.*?]', "", text) and str(ROOT) not in text, path


def test_an_exercise_says_where_it_is_solved(site):
    for page in site.glob("exercises/*.html"):
        assert f"exercises/{page.stem}.ipynb</span>" in page.read_text(encoding="utf-8"), page


def sent(path: Path) -> int:
    """The bytes that a server sends: text is compressed on the way."""
    content = path.read_bytes()
    return len(content if path.suffix in (".webp", ".png", ".woff2") else gzip.compress(content))


@pytest.mark.parametrize("slug", written(ROOT))
def test_a_lesson_is_small(site, slug):
    page = site / f"notebooks/{slug}.html"
    loaded = {(page.parent / unquote(urlsplit(one).path)).resolve() for one in read(page).loads if one[:5] != "data:"}
    shared = {path for path in loaded if "_static" in path.parts or path.name == "searchindex.js"}
    sprites = site.glob(f"_static/{slug}-*.webp")
    own = sum(sent(path) for path in (page, *(loaded - shared), *sprites))
    assert own <= 1 * MIB, f"{slug}: {own / MIB:.2f} MiB, once the shared files are there"
    assert own + sum(sent(path) for path in shared) <= 5 * MIB, f"{slug} on the first visit"


def test_the_site_is_small(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) <= 60 * MIB


# What the pages are made of


def test_what_the_builder_adds_to_a_notebook_is_no_text_of_its_author(tmp_path):
    path = tmp_path / "01_x.ipynb"
    badge = BADGE.format(repository="a/b", ref="main", path="notebooks/01_x.ipynb")
    asked = new_markdown_cell("Did you stumble?", metadata={"tags": ["feedback"]})
    cells = [new_markdown_cell(f"{badge}# Title"), new_code_cell("x = 1"), new_markdown_cell("Text."), asked]
    nbformat.write(new_notebook(cells=cells), path)
    assert texts(path) == ["# Title", "Text."]


def test_a_syllabus_holds_everything_once_in_order():
    course = lessons(ROOT)
    for weeks in (4, 8, 14):
        plan = syllabus.syllabus(course, weeks)
        assert len(plan) == weeks and all(plan)
        assert [part for week in plan for part in week] == syllabus.parts(course, weeks)


def test_the_weeks_of_a_syllabus_are_as_equal_as_they_can_be():
    minutes = (45, 30, 20, 60, 10, 50)
    all_ways = ((a, b, 6) for a in range(1, 5) for b in range(a + 1, 6))

    def squares(ends):
        return sum(sum(minutes[start:end]) ** 2 for start, end in zip((0, *ends), ends, strict=False))

    assert squares(syllabus.best_ends(minutes, 3)) == min(map(squares, all_ways))


def test_on_the_map_a_lesson_stands_right_of_all_that_it_needs_and_no_two_in_one_place():
    course = lessons(ROOT)
    at = needs.places(course)
    assert all(at[need][0] < at[lesson.number][0] for lesson in course for need in lesson.header.needs)
    assert len(set(at.values())) == len(course)


def test_on_the_map_no_arrow_goes_through_a_box():
    course = lessons(ROOT)
    at = needs.places(course)
    for lesson in course:
        for need in needs.direct(lesson, course):
            for x, y in needs.way(at, need, lesson.number)[1:-1]:
                near = [abs(y - box) for column, box in at.values() if column == x]
                assert min(near, default=needs.DOWN) > needs.HEIGHT / 2, (need, lesson.number)


def test_on_the_map_a_need_that_another_brings_along_has_no_arrow():
    course = {lesson.number: lesson for lesson in lessons(ROOT)}
    assert course["07"].header.needs == ["01", "06"]
    assert needs.direct(course["07"], list(course.values())) == ["06"], "06 needs 02, and 02 needs 01"


def test_every_card_on_the_home_page_has_a_picture(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    cards = re.findall(r'<div class="[^"]*question.*?</a>', page, flags=re.S)
    assert len(cards) == len(lessons(ROOT))
    assert [card for card in cards if 'class="still"' not in card and "diagram" not in card] == []
    assert still("99_nothing") == ""


def test_the_course_is_cited_by_what_stands_in_its_citation_file():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    title = re.search('^title: "(.+)"$', text, flags=re.M)
    assert title and f"title = {{{{{title[1]}}}}}" in bibtex(ROOT)


def test_every_term_and_every_answer_of_a_written_lesson_is_a_sentence_of_that_lesson():
    course = lessons(ROOT)
    lines = (ROOT / "site/terms.txt").read_text(encoding="utf-8").splitlines()
    chosen = {line.partition(" | ")[0] for line in lines if "|" in line}
    assert chosen <= {term.name for term in glossary(course)}
    lines = (ROOT / "site/questions.txt").read_text(encoding="utf-8").splitlines()
    begins = [[part.strip() for part in line.split("|")[2:] if part.strip()] for line in lines]
    assert len(lines) == 10
    for one, wanted in zip(open_questions(course), begins, strict=True):
        kept = [sentence[: len(begin)] for sentence, begin in zip(one.answer, wanted, strict=False)]
        assert kept == (wanted if one.lesson else []), f"lesson {one.number} says it no longer: {wanted}"
        assert bool(one.answer) == bool(one.lesson), "a written lesson answers its question"


def test_every_paper_has_a_year_and_a_title_and_stands_alone_and_once():
    numbers = []
    for paper in papers(cards(), lessons(ROOT)):
        assert paper.year and len(paper.citation) > 30, paper.citation
        here = set(re.findall(r"arXiv (\d{4}\.\d{4,5})|doi (10\.\S*\w)", paper.citation))
        assert len(here) <= 1, f"two papers in one: {paper.citation}"
        numbers += here
    assert len(set(numbers)) == len(numbers)


def test_a_paper_of_a_mechanism_leads_to_the_lesson_on_it():
    course = lessons(ROOT)
    for paper in papers(cards(), course):
        taught = {lesson for lesson in course for card in paper.cards if card.row.lesson == int(lesson.number)}
        assert taught <= set(paper.lessons), paper.citation


def test_the_page_of_lost_addresses_finds_its_styles_at_any_depth(site):
    text = (site / "404.html").read_text(encoding="utf-8")
    base = re.search('<base href="/[^"]*">', text)
    assert base and base.start() < text.index('"stylesheet"')


def test_every_page_says_what_it_is_about(site):
    for page in pages(site):
        assert '<meta name="description"' in page.read_text(encoding="utf-8"), page


@pytest.mark.parametrize(
    "name, places, channels",
    [
        ("EfficientChannel", 256, 3),  # k = 3 neighbours of 32 channels, averaged over all places
        ("GatherExcite", 256, 1),  # each channel alone
        ("StandAloneAttention", 49, 32),  # a window of 7 × 7
        ("NonLocal", 256, 32),
    ],
)
def test_reach_is_what_the_formula_says(name, places, channels):
    found = reach.reach(mechanism(name))
    assert [int((part > reach.NOTHING).sum()) for part in found[:2]] == [places, channels]


@pytest.mark.parametrize(
    "name, hard", [("Gater", True), ("RecurrentAttention", False), ("NonLocal", False), ("SqueezeExcitation", False)]
)
def test_a_map_that_is_chosen_hard_is_said_to_be(name, hard):
    assert reach.chosen_hard(mechanism(name)) is hard


@pytest.mark.parametrize(
    "name, placed", [("NonLocal", True), ("FramePooling", True), ("GranularityDescriptors", False)]
)
def test_only_a_number_of_an_output_with_places_lies_in_the_middle(name, placed):
    card = Card(mechanism(name))
    assert card.placed is placed and ("in the middle" in card.reach_figure) is placed


def test_nothing_heard_is_transparent():
    address = reach.address(torch.tensor([[0.0, 1.0, 1e-6]]))
    pixels = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    assert [pixels.getpixel((k, 0))[3] for k in range(3)] == [0, 255, 255]
    assert pixels.getpixel((1, 0))[:3] == (253, 231, 36) and pixels.getpixel((2, 0))[:3] == (68, 1, 84)


def test_the_chart_places_cost_on_a_logarithmic_axis():
    assert chart.across(1) - chart.across(0) == pytest.approx(chart.across(0) - chart.across(-1), abs=0.2)
    assert chart.across(-9) == chart.across(chart.LEAST)


def test_every_lesson_keeps_three_things():
    assert {lesson.slug: len(lesson.kept) for lesson in lessons(ROOT)} == dict.fromkeys(written(ROOT), 3)
