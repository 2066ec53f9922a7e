"""A notebook becomes a page: without badge and set-up, with links to the reference, and with sliders that move."""

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path

from PIL import Image
from sphinx.application import Sphinx

from course_lib.authoring.address import BADGE_LINE
from course_lib.authoring.lint import only_imports
from course_lib.authoring.places import parts
from course_lib.authoring.sliders import place
from course_lib.authoring.tables import with_links
from course_lib.authoring.website.course import lessons
from course_lib.authoring.website.reference import diagram
from course_lib.catalog import mechanism
from course_lib.exercises import ROOT

ARROW = re.compile(r"(```.*?```|`[^`]*`)|->", re.DOTALL)
MODULE = re.compile(r"\[([^\]]+)\]\(\.\./(course_lib/[\w/]+)\.py\)")
MEASURED = re.compile(r"\[([^\]]+)\]\(\.\./benchmarks/(claims|tasks)\.md\)")
SHOWN_BY = {"claims": "engineers", "tasks": "compare"}  # pages that include what benchmarks measured
NEEDS = re.compile(r"(\*Needs:\* )([\d, ]+)")
INLINE = re.compile(r'<img src="data:image/png;base64,([\w+/=]+)" width="(\d+)"([^>]*)>')
DIAGRAM = re.compile(r"^diagram\((\w+)\)$", re.MULTILINE)  # what its cell shows
FOLDS = {"folded": "hide-input", "answer": "hide-output", "set-up": "remove-cell", "widget": "hide-input"}

WHERE = "This page shows the tasks. To solve them, run `make lab` in the folder of the course and open `{}.ipynb`."


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """What Sphinx parses instead of the file."""
    kind, _, slug = docname.partition("/")
    if kind not in ("notebooks", "exercises"):
        return
    notebook = json.loads(source[0])
    cells = notebook["cells"]
    for number, cell in enumerate(tagged(cells, "widget"), start=1):
        app.env.note_dependency(place(slug, number, ROOT).with_suffix(".json"))  # which a later build looks at
        cell["outputs"] = [as_html(slider(slug, number, Path(app.outdir)))]
    for cell in cells:
        if shown := DIAGRAM.search("".join(cell["source"])):  # as the page is, light or dark; a stored one is light
            cell["outputs"] = [as_html(diagram(mechanism(shown[1]).module))]
        cell["source"] = page_text("".join(cell["source"])) if cell["cell_type"] == "markdown" else cell["source"]
        fold(cell)
        for output in cell.get("outputs", []):
            store_pictures(output, Path(app.outdir))
    if kind == "notebooks":
        cells.append(markdown("exercise", to_the_exercise(app, slug)))
    else:
        cells.insert(1, markdown("where", WHERE.format(docname)))
    source[0] = json.dumps(notebook)


def markdown(name: str, text: str) -> dict:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def tagged(cells: list[dict], tag: str) -> list[dict]:
    return [cell for cell in cells if tag in cell["metadata"].get("tags", [])]


def page_text(text: str) -> str:
    """Markdown for the page: no badge, `->` as an arrow; modules, needed lessons and papers are links."""
    text = ARROW.sub(lambda found: found[1] or "→", BADGE_LINE.sub("", text))  # a browser may break a line within ->
    text = MODULE.sub(reference, text)
    text = MEASURED.sub(lambda found: f"{{doc}}`{found[1]} </{SHOWN_BY[found[2]]}>`", text)
    return with_links(NEEDS.sub(needed, text))


def reference(found: re.Match) -> str:
    """A link to a module's page; what only authors use has none."""
    words, module = found[1], found[2].replace("/", ".")
    return words if ".authoring." in module else f"[{words}](#{module})"


def needed(found: re.Match) -> str:
    slugs = {lesson.number: lesson.slug for lesson in lessons(ROOT)}
    numbers = [number.strip() for number in found[2].split(",")]
    links = [f"[{number}](../notebooks/{slugs[number]}.ipynb)" if number in slugs else number for number in numbers]
    return found[1] + ", ".join(links) + " "


def fold(cell: dict) -> None:
    """Fold what the notebook folds, and imports, which nobody reads; what only serves a kernel is gone."""
    tags = cell["metadata"].setdefault("tags", [])
    tags += [FOLDS[tag] for tag in tags if tag in FOLDS]
    if cell["cell_type"] == "code" and only_imports("".join(cell["source"])):
        tags.append("hide-input")
    if "hide-input" in tags and "hide-output" not in tags:
        cell["metadata"]["mystnb"] = {"code_prompt_show": prompt("".join(cell["source"]))}


def prompt(code: str) -> str:
    """What the fold of a source says; folds that follow each other tell what is in them.

    >>> prompt("def draw(figure):\\n    ..."), prompt("import torch"), prompt("draw(figure)")
    ('Show the source of draw', 'Show the imports', 'Show the source')
    >>> prompt("WAYS = {}\\nx = 1")
    'Show the source of WAYS'
    """
    if only_imports(code):
        return "Show the imports"
    names = re.findall(r"^(?:(?:def|class) (\w+)|([A-Z_]+) =)", code, re.M)
    return "Show the source" + (f" of {', '.join(map(''.join, names))}" if names else "")


def store_pictures(output: dict, out: Path) -> None:
    """Pictures lie beside the page, not in it, and are fetched when they come into view."""
    data = output.get("data", {})
    if "text/html" in data:
        data["text/html"] = INLINE.sub(lambda found: stored(found, out), "".join(data["text/html"]))


def stored(found: re.Match, out: Path) -> str:
    picture = base64.b64decode(found[1])
    image = Image.open(io.BytesIO(picture))
    path = out / f"_images/{hashlib.sha1(picture).hexdigest()[:12]}.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").save(path, lossless=True, method=1, quality=20)  # the same pixels in fewer bytes, soon
    wide, high = image.size
    height = round(int(found[2]) * high / wide)
    return f'<img src="../_images/{path.name}" width="{found[2]}" height="{height}" loading="lazy"{found[3]}>'


def as_html(markup: str) -> dict:
    data = {"text/html": markup, "text/plain": ""}
    return {"output_type": "display_data", "metadata": {}, "data": data}


def slider(slug: str, number: int, out: Path) -> str:
    """The sliders of a lesson's widget, over one sprite; without a sprite, where to look instead."""
    sprite = place(slug, number, ROOT)
    if not sprite.with_suffix(".webp").exists():
        return '<p class="no-sprite">These sliders move in JupyterLab; the pictures below show the same.</p>'
    about = json.loads(sprite.with_suffix(".json").read_text(encoding="utf-8"))
    note = '<p class="all-values">Here a slider may have fewer values than in JupyterLab.</p>'
    return moving(about, f"../_static/{sprite.name}.webp") + note


def moving(about: dict, address: str, *, play: int | None = None) -> str:
    """``slider.js`` moves the background of the picture to the frame that the ranges choose; one may play alone."""
    ranges = "".join(control(one) for one in about["sliders"])
    words, style = "the picture for these values", window(about, address)
    picture = f'<div class="frame" role="img" aria-label="{words}" style="{style}"></div>'
    plays = "" if play is None else f' data-play="{play}"'
    size = f'data-columns="{about["columns"]}" data-rows="{about["rows"]}"'
    longest = max(len(option) for one in about["sliders"] for option in one["options"])
    return f'<div class="steer"{plays} {size} style="--said: {longest}ch">{ranges}{picture}</div>'


def still(slug: str) -> str:
    """The picture with which a lesson's first sliders start, for a card whose words say the rest; or nothing."""
    sprite = place(slug, 1, ROOT)
    if not sprite.with_suffix(".json").exists():
        return ""
    about = json.loads(sprite.with_suffix(".json").read_text(encoding="utf-8"))
    return f'<div class="still" style="{window(about, f"_static/{sprite.name}.webp")}"></div>'


def window(about: dict, address: str) -> str:
    """The style by which one frame of a sprite is seen, at first that of the start."""
    width, height = about["frame"]
    columns, rows = about["columns"], about["rows"]
    across, down = (first_frame(about) % columns, columns), (first_frame(about) // columns, rows)
    at = " ".join(f"{100 * part / max(count - 1, 1):.4g}%" for part, count in (across, down))
    style = f"aspect-ratio: {width} / {height}; max-width: {width}px; background-image: url('{address}')"
    return f"{style}; background-size: {100 * columns}% {100 * rows}%; background-position: {at}"


def first_frame(about: dict) -> int:
    """The frame of the values with which the sliders start; the last slider runs fastest."""
    frame = 0
    for one in about["sliders"]:
        frame = frame * len(one["options"]) + one["start"]
    return frame


def control(one: dict) -> str:
    name = html.escape(one["name"].replace("_", " "))
    options = html.escape(json.dumps(one["options"], ensure_ascii=False))
    start, last = one["start"], len(one["options"]) - 1
    said = html.escape(one["options"][start])
    return (
        f'<label><span>{name}</span><input type="range" min="0" max="{last}" value="{start}" step="1" '
        f'data-options="{options}" aria-valuetext="{said}"><output>{said}</output></label>'
    )


def to_the_exercise(app: Sphinx, slug: str) -> str:
    """The card under a lesson that leads to its exercise, and the exercise's place in the list of pages."""
    exercise = next(lesson.exercise for lesson in lessons(ROOT) if lesson.slug == slug)
    if exercise is None:
        return ""
    for file in ("exercise", "solution source"):
        app.env.note_dependency(parts(slug)[file])
    tasks = len(exercise.points)
    return (
        f":::{{card}} Now the exercise\n:link: /exercises/{slug}\n:link-type: doc\n:class-card: to-exercise\n\n"
        f"{tasks} tasks · {sum(exercise.points)} points · {exercise.minutes} minutes\n:::\n\n"
        f"```{{toctree}}\n:hidden:\n\n../exercises/{slug}\n```\n"
    )


def setup(app: Sphinx) -> None:
    app.connect("source-read", read)
