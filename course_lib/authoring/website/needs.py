"""What needs what, as a picture in SVG: each lesson stands right of all that it needs, and leads to its page."""

import html
import textwrap
from itertools import groupby, pairwise
from statistics import mean

from course_lib.authoring.website.course import Lesson

WIDTH, HEIGHT = 146, 56  # of a box
ACROSS, DOWN = 186, 76  # from box to box
LINE = 18

Place = tuple[float, float]
Places = dict[str, Place]  # the middle of each lesson's box, by its number


def lesson_map(lessons: list[Lesson]) -> str:
    at = places(lessons)
    arrows = [arrow(way(at, need, lesson.number)) for lesson in lessons for need in direct(lesson, lessons)]
    boxes = [box(lesson, *at[lesson.number]) for lesson in lessons]
    wide, high = (max(place[k] for place in at.values()) for k in (0, 1))
    view = f"0 0 {wide + WIDTH / 2 + 2:g} {high + HEIGHT / 2 + 2:g}"
    name = "the lessons, with an arrow from each to those that need it"
    return "\n".join(
        [f'<svg class="map" viewBox="{view}" role="group" aria-label="{name}">', *boxes, *arrows, "</svg>"]
    )


def places(lessons: list[Lesson]) -> Places:
    """One column for each step away from the beginning; its lessons stand around the middle of what they need."""
    at: Places = {}
    steps = depths(lessons)
    for step, column in groupby(sorted(lessons, key=steps.__getitem__), key=steps.__getitem__):
        wish = {one: mean([at[need][1] for need in direct(one, lessons)] or [0]) for one in column}
        top = mean(wish.values()) - DOWN * (len(wish) - 1) / 2
        for row, lesson in enumerate(sorted(wish, key=lambda one: (wish[one], one.number))):
            at[lesson.number] = (step * ACROSS + WIDTH / 2 + 2, top + row * DOWN)
    highest = min(y for _, y in at.values())
    return {number: (x, y - highest + HEIGHT / 2 + 2) for number, (x, y) in at.items()}


def depths(lessons: list[Lesson]) -> dict[Lesson, int]:
    """How many lessons one after the other come before each; their numbers follow their needs."""
    found: dict[Lesson, int] = {}
    for lesson in lessons:
        before = [step + 1 for other, step in found.items() if other.number in lesson.header.needs]
        found[lesson] = max(before, default=0)
    return found


def direct(lesson: Lesson, lessons: list[Lesson]) -> list[str]:
    """The needs of a lesson, without those that its other needs bring along."""
    before: dict[str, set[str]] = {}
    for one in lessons:
        needs = [need for need in one.header.needs if need in before]
        before[one.number] = set(needs).union(*(before[need] for need in needs))
    needs = [need for need in lesson.header.needs if need in before]
    return [need for need in needs if not any(need in before[other] for other in needs)]


def way(at: Places, start: str, end: str) -> list[Place]:
    """The middle of both boxes, and between them, in each column, a place where no box is in the way."""
    (x, y), (right, down) = at[start], at[end]
    points = [(x, y)]
    for step in range(1, round((right - x) / ACROSS)):
        column = [place[1] for place in at.values() if place[0] == x + step * ACROSS]
        y = free(y, column)
        points.append((x + step * ACROSS, y))
    return [*points, (right, down)]


def free(y: float, column: list[float]) -> float:
    """The height nearest to y that touches none of the boxes of a column."""
    heights = [y, *(box + side * DOWN / 2 for box in column for side in (-1, 1))]
    between = [height for height in heights if all(abs(height - box) > HEIGHT / 2 + 4 for box in column)]
    return min(between, key=lambda height: abs(height - y))


def arrow(points: list[Place]) -> str:
    """From the right side of the first box, straight through each column, to the left side of the last."""
    curves = "".join(curve(*pair) for pair in pairwise(points))
    x, y = points[-1][0] - WIDTH / 2, points[-1][1]
    return f'<path d="M{curves[1:]}"/><path class="head" d="M{x:g} {y:g}l-9-5v10z"/>'


def curve(start: Place, end: Place) -> str:
    (x, y), (right, down) = (start[0] + WIDTH / 2, start[1]), (end[0] - WIDTH / 2, end[1])
    middle = (x + right) / 2
    return f"L{x:g} {y:g}C{middle:g} {y:g} {middle:g} {down:g} {right - 7:g} {down:g}"


def box(lesson: Lesson, x: float, y: float) -> str:
    lines = textwrap.wrap(f"{lesson.number} {lesson.header.title}", 16)
    top = y + 5 - (len(lines) - 1) * LINE / 2
    text = "".join(
        f'<tspan x="{x:g}" y="{top + k * LINE:g}">{html.escape(one)}</tspan>' for k, one in enumerate(lines)
    )
    frame = f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}"/>'
    return f'<a href="notebooks/{lesson.slug}.html">{frame}<text>{text}</text></a>'
