"""The lint of teaching: what every lesson and exercise must have, whoever writes it.

Each rule takes one source and yields what it finds; RULES lists them all.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median
from typing import NamedTuple

from nbformat import NotebookNode

from course_lib.authoring.address import from_source
from course_lib.authoring.builder import generate, read, source_of, stale
from course_lib.authoring.minutes import in_words, promised, sections
from course_lib.authoring.places import parts
from course_lib.authoring.sources import TAG, Header, headers, parse, read_cells, read_header, tagged
from course_lib.exercises import UsageError

COLOUR_MAPS = {  # perceptual, and readable by colour-blind eyes
    *("viridis", "cividis", "magma", "inferno", "plasma", "twilight", "gray", "grey", "binary"),
    *("Greys", "Blues", "Oranges", "Purples", "PuOr", "RdBu", "BrBG", "PRGn"),
}
RANDOM = {  # what draws numbers, by the module that it is imported from
    "torch": "rand randn randint randperm rand_like randn_like randint_like normal multinomial bernoulli poisson",
    "torch.nn": "Linear Bilinear Embedding Conv1d Conv2d Conv3d MultiheadAttention LSTM LSTMCell GRU GRUCell",
    "torch.nn.functional": "dropout gumbel_softmax",
    "numpy.random": "rand randn randint random normal uniform choice permutation shuffle",
    "random": "random randint choice choices shuffle sample uniform gauss",
}
DRAWING_ENDINGS = ("normal_", "uniform_", "random_", "bernoulli_", "exponential_")  # kaiming_normal_ is one, too
SEEDS = {"numpy.random": "numpy.random.seed", "random": "random.seed"}  # of all others torch.manual_seed
IDENTIFIER = re.compile(r"arXiv[: ]\d{4}\.\d{4,5}|\b10\.\d{4,}/\S+")
RATINGS = re.compile(r"^difficulty [1-5]/5 · importance [1-5]/5 · (\d+) minutes$", re.M)
HINT = re.compile(r"<details>\s*<summary>.+?</summary>\s*(.*?)\s*</details>", re.S)
TAGS = {"answer", "folded", "static", "widget", "nbval-ignore-output", "raises-exception"}  # and tasks and checks
LONGEST, MEDIAN, SCREEN, UNSTABLE = 20, 6, 25, 0.05
TASKS, WRONG = 3, 5  # at least: of an exercise; named wrong answers of a task


class Finding(NamedTuple):
    """What is wrong where, and what to do about it; ``cell`` counts from 1 in the source, 0 is the whole file."""

    file: str
    cell: int
    value: str
    cure: str

    def __str__(self) -> str:
        place = f" cell {self.cell}" if self.cell else ""
        return f"{self.file}{place}: {self.value}; {self.cure}"


class Source(NamedTuple):
    """One text source, what its notebook's cells put out (None: not built), and the lessons around it."""

    slug: str
    kind: str  # "lesson" or "solution"
    cells: list[NotebookNode]
    outputs: list[list[NotebookNode]] | None
    lessons: dict[str, Header]
    root: Path

    @property
    def path(self) -> Path:
        return source_of(self.slug, self.kind, self.root)

    @property
    def header(self) -> Header:
        return read_header(self.cells[0].source if self.cells else "")

    def of_type(self, cell_type: str) -> list[tuple[int, NotebookNode]]:
        return [(i, cell) for i, cell in enumerate(self.cells, start=1) if cell.cell_type == cell_type]


Found = Iterator[tuple[int, str, str]]  # cell, value, cure


def findings(chosen: list[str], root: Path) -> list[Finding]:
    """Everything that the rules find in the chosen lessons and their exercises."""
    found, lessons = [], headers(root)
    for slug in chosen:
        found += [Finding(slug, 0, *finding) for finding in missing_parts(slug, root)]
        for kind in ("lesson", "solution"):
            path = source_of(slug, kind, root)
            if path.exists():
                source = Source(slug, kind, read_cells(path), outputs(slug, kind, root), lessons, root)
                name = path.relative_to(root).as_posix()
                found += [Finding(name, *finding) for rule in RULES[kind] for finding in rule(source)]
    return found


def outputs(slug: str, kind: str, root: Path) -> list[list[NotebookNode]] | None:
    """The outputs of each cell of the source; None where they are not those of this source."""
    notebook = read(parts(slug, root)[kind])
    if notebook is None or refusal(slug, kind, root) or stale(slug, kind, root):
        return None
    return [cell.get("outputs", []) for cell in from_source(notebook.cells)]


def refusal(slug: str, kind: str, root: Path) -> tuple[str, str] | None:
    """What the builder does not accept in a source, and the cure, or None."""
    try:
        generate(slug, kind, root)
    except UsageError as error:
        value, _, cure = str(error).removeprefix(str(source_of(slug, kind, root))).lstrip(": ").rpartition("; ")
        return value, cure
    return None


def missing_parts(slug: str, root: Path) -> Iterator[tuple[str, str]]:
    """Every lesson but 00 has an exercise, and every task of it a hidden test and named wrong answers."""
    if slug.startswith("00"):
        return
    for part in ("solution source", "hidden tests"):
        if not parts(slug, root)[part].exists():
            yield f"{parts(slug, root)[part].relative_to(root).as_posix()} does not exist", "write it"
    if (hidden := parts(slug, root)["hidden tests"]).exists() and parts(slug, root)["solution source"].exists():
        text = hidden.read_text(encoding="utf-8")
        for k in filter(None, (tagged(cell, "task") for cell in read_cells(parts(slug, root)["solution source"]))):
            task = f"task_{slug[:2]}_{k}"
            count = {mark: len(re.findall(rf'@{mark}\(\s*"{task}"', text)) for mark in ("task", "wrong")}
            if not count["task"]:
                yield f"{hidden.name} has no @task for {task}", "write one"
            if count["wrong"] < WRONG:
                yield f"{hidden.name} has {count['wrong']} @wrong for {task}", f"name at least {WRONG} mistakes"
        if "FILL IN" in text:
            yield f"{hidden.name} says FILL IN", "fill it in"


# The header


def title_and_question(source: Source) -> Found:
    if not source.header.title:
        yield 1, "no title", f'start with "# {source.slug[:2]} · Title"'
    if source.kind == "lesson" and not source.header.question.endswith("?"):
        yield 1, f"question {source.header.question!r}", "ask one question in bold below the title, ending in ?"


def objectives(source: Source) -> Found:
    if len(source.header.objectives) != 3:
        yield 1, f"{len(source.header.objectives)} objectives", 'name three, as bullets under "you will be able to"'


def minutes(source: Source) -> Found:
    """A lesson's minutes are counted (minutes.py) and compared with what its headings promise."""
    if not 1 <= source.header.minutes <= 90:
        yield 1, f"{source.header.minutes} minutes", 'write "*Minutes:* 40", from 1 to 90'
    elif source.kind == "lesson":
        deeper = promised(source.cells)
        if sum(deeper.values()) != source.header.deeper:
            yield 1, f"deeper {source.header.deeper}", f'write "*Minutes:* …, deeper {sum(deeper.values())}"'
        if any(source.outputs or []):
            yield from promised_minutes(source, deeper)
    elif source.kind == "solution":
        yield from minutes_of_tasks(source)


def promised_minutes(source: Source, due: dict[str, int]) -> Found:
    walk, *deeper = sections(source.cells, source.outputs).items()
    if off(walk[1], source.header.minutes):
        shorter = ", or shorten the lesson" * (walk[1] > source.header.minutes)
        words = f"the walk takes {in_words(walk[1])}, not {source.header.minutes}"
        yield 1, words, f'write "*Minutes:* {walk[1]:.0f}"{shorter}'
    for title, counted in deeper:
        if title not in due or off(counted, due[title]):
            title = re.sub(r" \(.*minutes?\)$", "", title)
            yield 0, f"{title!r} takes {in_words(counted)}", f"head it ## Deeper · {title} ({in_words(counted)})"


def minutes_of_tasks(source: Source) -> Found:
    """An exercise promises the sum of its tasks."""
    tasks = [int(found) for cell in source.cells for found in RATINGS.findall(cell.source)]
    rated = len(tasks) == sum(tagged(cell, "task") is not None for cell in source.cells)
    if rated and sum(tasks) != source.header.minutes:
        yield 1, f"{source.header.minutes} minutes", f'write "*Minutes:* {sum(tasks)}", the sum of the tasks'


def off(counted: float, promised: int) -> bool:
    """More than a tenth away, or three minutes: a reader's own speed differs by more."""
    return abs(counted - promised) > max(3, promised / 10)


def needs(source: Source) -> Found:
    if "*Needs:*" not in (source.cells[0].source if source.cells else ""):
        yield 1, "no needs", 'write "*Needs:* 01, 03", or "*Needs:* —" for none'
    known = {slug[:2] for slug in source.lessons}
    for number in source.header.needs:
        if number not in known:
            yield 1, f"needs {number}", f"there are lessons {', '.join(sorted(known))}"
    if source.kind == "lesson" and (circle := circle_of(source.slug[:2], source.lessons)):
        yield 1, f"needs itself: {' → '.join(circle)}", "take one of these needs away"


def circle_of(number: str, lessons: dict[str, Header]) -> list[str]:
    """A path of needs from a lesson back to itself, or nothing."""
    try:
        TopologicalSorter({slug[:2]: header.needs for slug, header in lessons.items()}).prepare()
    except CycleError as error:
        *circle, _ = reversed(error.args[1])  # from a lesson to what it needs; the last is the first
        if number in circle:
            start = circle.index(number)
            return [*circle[start:], *circle[:start], number]
    return []


# Words


def nothing_left_to_fill(source: Source) -> Found:
    for i, cell in enumerate(source.cells, start=1):
        if "FILL IN" in cell.source:
            yield i, "says FILL IN", "fill it in"


def citations(source: Source) -> Found:
    """The header names a paper, and every paper named anywhere has its id somewhere in the notebook."""
    text = [
        (i, part) for i, cell in source.of_type("markdown") for part in re.split(r"\n\s*\n|\n[-*] |; ", cell.source)
    ]
    known = " ".join(part for _, part in text if IDENTIFIER.search(part))
    paper = re.search(r"\*Paper:\*\s*(.*?)(?: · |$)", source.cells[0].source, re.M)
    if source.kind == "lesson" and not source.slug.startswith("00") and not (paper and IDENTIFIER.search(paper[1])):
        yield 1, "no paper with an arXiv id or DOI", 'write "*Paper:* Author et al., 2018, arXiv 1709.01507"'
    for i, part in text:
        for author in re.findall(r"([A-Z][\w-]+) et al", part):
            if not re.search(rf"\b{author}\b", known):
                yield i, f"{author} et al. is cited without an id", "add the arXiv id or DOI beside the name, once"


def alt_text(source: Source) -> Found:
    """Every picture among the outputs carries its description to a screen reader."""
    for i, put_out in enumerate(source.outputs or [], start=1):
        for data in (output.get("data", {}) for output in put_out):
            words = re.findall(r'<img [^>]*alt="([^"]*)"', "".join(data.get("text/html", "")))
            if "image/png" in data or any(len(one) < 10 for one in words):
                yield i, "a figure without alternative text", 'end the cell with describe(figure, "what it shows …")'


def tags(source: Source) -> Found:
    """A tag that nobody reads is a slip: the cell would silently not be what its author wanted."""
    for i, cell in enumerate(source.cells, start=1):
        for tag in cell.metadata.get("tags", []):
            if tag not in TAGS and not TAG.fullmatch(tag):
                yield (
                    i,
                    f"tag {tag!r}",
                    f"use one of {', '.join(sorted(TAGS))}, or task_{source.slug[:2]}_1 and the like",
                )


def static_twins(source: Source) -> Found:
    """A widget never carries content alone: a fixed picture of several settings follows it."""
    tags = [set(cell.metadata.get("tags", [])) for cell in source.cells]
    for i, own in enumerate(tags, start=1):
        if "widget" in own and not any("static" in other for other in tags[i : i + 3]):
            cure = 'follow it by a cell tagged "static" that ends in describe(side_by_side(…), "what it shows")'
            yield i, "a widget without a fixed twin", cure


# Code


def cell_length(source: Source) -> Found:
    lengths = {
        i: len([line for line in cell.source.splitlines() if line.strip()])
        for i, cell in source.of_type("code")
        if "folded" not in cell.metadata.get("tags", []) and not only_imports(cell.source)
    }
    for i, length in lengths.items():
        if length > LONGEST:
            yield i, f"{length} lines of code", f"split it, or move it to course_lib; {LONGEST} is the most"
    if lengths and median(lengths.values()) > MEDIAN:
        yield 0, f"half of the code cells have more than {MEDIAN} lines", "show one idea in a cell"


def a_screen(source: Source) -> Found:
    """No code cell is longer than a screen: not a folded one, a list of imports or an answer either."""
    for i, cell in source.of_type("code"):
        length = len(cell.source.splitlines()) + ("folded" in cell.metadata.get("tags", []))  # which gets a title
        if length > SCREEN:
            yield i, f"a cell of {length} lines", f"split it; {SCREEN} is the most"


def only_imports(code: str) -> bool:
    """A list of what is used, which nobody reads line by line."""
    words = ("import ", "from ", "    ", ")")
    return all(line.startswith(words) for line in code.splitlines() if line.strip())


def colour_maps(source: Source) -> Found:
    """Every colour map is from the safe list; one whose name cannot be read is a finding too."""
    constants = strings(parse(source.path))
    plotting = source.root / "course_lib/plotting.py"
    constants |= strings(parse(plotting)) if plotting.exists() else {}
    for i, tree in code(source):
        for value in colour_map_values(tree):
            name = constants.get(value.id) if isinstance(value, ast.Name) else getattr(value, "value", None)
            if not isinstance(name, str) or name.removesuffix("_r") not in COLOUR_MAPS:
                shown = name if isinstance(name, str) else ast.unparse(value)
                yield i, f"colour map {shown}", f"use one of {', '.join(sorted(COLOUR_MAPS))}, by its name"


def colour_map_values(tree: ast.AST) -> Iterator[ast.expr]:
    """The names of the colour maps in use: arguments of ``cmap=`` and what is looked up in matplotlib."""
    for node in ast.walk(tree):
        if (name := looked_up(node)) is not None:
            yield name
        elif isinstance(node, ast.keyword) and node.arg == "cmap" and looked_up(node.value) is None:
            yield node.value


def looked_up(node: ast.AST) -> ast.expr | None:
    """The name in ``get_cmap(name)``, ``colormaps[name]`` and ``plt.cm.name``."""
    if isinstance(node, ast.Call) and dotted(node.func).endswith(("set_cmap", "get_cmap")):
        return node.args[0] if node.args else None
    if isinstance(node, ast.Subscript) and dotted(node.value).endswith("colormaps"):
        return node.slice
    if isinstance(node, ast.Attribute) and dotted(node.value) in ("cm", "plt.cm", "mpl.cm", "matplotlib.cm"):
        return ast.Constant(node.attr)
    return None


def strings(tree: ast.Module) -> dict[str, str]:
    """The names that a module gives to strings, at its top."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def seeds(source: Source) -> Found:
    """Whatever draws numbers has a generator, or stands after a line that seeds."""
    names, seeded = imported(parse(source.path)), set()
    for i, tree in code(source):
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            first, dot, rest = dotted(call.func).partition(".")
            name = names.get(first, first) + dot + rest
            seeded.add(name)
            if draws(name, call) and SEEDS.get(name.rpartition(".")[0], "torch.manual_seed") not in seeded:
                yield i, f"{name} is not seeded", "pass generator=torch.Generator().manual_seed(0), or seed before it"


def draws(name: str, call: ast.Call) -> bool:
    """Whether a call draws numbers from a generator that everybody shares."""
    module, _, function = name.rpartition(".")
    if function == "default_rng":
        return not call.args and not call.keywords
    known = [*RANDOM.get(module, "").split(), "sample", "rsample"]
    if function not in known and not function.endswith(DRAWING_ENDINGS):
        return False
    given = [keyword.value for keyword in call.keywords if keyword.arg == "generator"]
    return not given or (isinstance(given[0], ast.Constant) and given[0].value is None)


def imported(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: ``np`` is ``numpy``, ``nn`` is ``torch.nn``."""
    names = {}
    for node in ast.walk(tree):
        for alias in getattr(node, "names", []) if isinstance(node, ast.Import | ast.ImportFrom) else []:
            origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            if alias.asname or origin:
                names[alias.asname or alias.name] = origin + alias.name
    return names


def code(source: Source) -> Iterator[tuple[int, ast.Module]]:
    """The syntax tree of each code cell, magics left out; ``parse`` has read the whole source as Python before."""
    for i, cell in source.of_type("code"):
        lines = [line if not re.match(r"\s*[%!]", line) else "" for line in cell.source.splitlines()]
        yield i, ast.parse("\n".join(lines))


def dotted(node: ast.expr) -> str:
    """``torch.rand`` from its syntax tree; what stands before the dot may be any expression."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


# Outputs


def up_to_date(source: Source) -> Found:
    if refused := refusal(source.slug, source.kind, source.root):
        yield 0, *refused
    elif source.outputs is None:
        yield 0, "its notebook is not up to date", f"run `course build {source.slug[:2]}`"
    elif not any(source.outputs):
        yield 0, "its notebook was never executed", f"run `course build {source.slug[:2]}`"


def stable_outputs(source: Source) -> Found:
    """No warning, progress bar or dump of numbers is stored, and few cells ask nbval to look away."""
    for i, put_out in enumerate(source.outputs or [], start=1):
        longest = max((len(text.splitlines()) for text in map(printed, put_out)), default=0)
        if longest > SCREEN:
            yield i, f"put out {longest} lines", f"print what is read of it; {SCREEN} is the most"
        if any(output.get("name") == "stderr" for output in put_out):
            yield i, "stored a warning", "repair what is warned of; its text differs between machines"
    cells = [cell for _, cell in source.of_type("code")]
    ignored = [i for i, cell in source.of_type("code") if "nbval-ignore-output" in cell.metadata.get("tags", [])]
    if len(ignored) > 1 and len(ignored) > UNSTABLE * len(cells):
        yield ignored[1], f"{len(ignored)} of {len(cells)} outputs are not compared", "round what is printed instead"


def printed(output: NotebookNode) -> str:
    return output.get("text") or output.get("data", {}).get("text/plain", "")


# Exercises


def enough_tasks(source: Source) -> Found:
    count = sum(tagged(cell, "task") is not None for cell in source.cells)
    if count < TASKS:
        yield 0, f"{count} tasks", f"set at least {TASKS}"


def ratings_and_hints(source: Source) -> Found:
    """Each task is announced by a Markdown cell with its ratings and at least two hints that say something."""
    for i, cell in source.of_type("code"):
        if (k := tagged(cell, "task")) is None:
            continue
        text = source.cells[i - 2].source if i > 1 else ""
        task = f"task_{source.slug[:2]}_{k}"
        if not re.search(rf"^## {task} · \S", text, re.M):
            yield i - 1, f"{task} is not announced", f'start the Markdown cell above it with "## {task} · Title"'
        if not RATINGS.search(text):
            yield i - 1, f"{task} has no ratings", "write the line: difficulty 2/5 · importance 5/5 · 10 minutes"
        if (count := len([hint for hint in HINT.findall(text) if hint])) < 2:
            yield (
                i - 1,
                f"{task} has {count} hints",
                "fold two away: <details><summary>Hint 1</summary> … </details>",
            )


BOTH = (
    title_and_question, minutes, needs, tags, nothing_left_to_fill, citations, alt_text, a_screen, colour_maps, seeds,
    up_to_date, stable_outputs,
)  # fmt: skip
RULES = {
    "lesson": (objectives, cell_length, static_twins, *BOTH),
    "solution": (enough_tasks, ratings_and_hints, *BOTH),
}
