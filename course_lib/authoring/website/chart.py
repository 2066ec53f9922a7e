"""Cost against reach in one picture: a dot for each mechanism that leads to its card, drawn as SVG."""

import html
from collections import Counter
from math import log10

from course_lib.authoring.website.cards import Card
from course_lib.catalog import QUESTIONS

WIDTH, LANE, LEFT, RIGHT = 1000, 150, 150, 30
LEAST, MOST = -5.0, 2.2  # powers of ten of the cost
TICKS = {-5: "0.00001", -4: "0.0001", -3: "0.001", -2: "0.01", -1: "0.1", 0: "1", 1: "10", 2: "100"}
LANES = ("all places", "some places", "its own place")
STEP = 17  # between dots that would cover each other


def chart(cards: list[Card]) -> str:
    high = LANE * len(LANES) + 60
    parts = ['<div class="scroll" tabindex="0" role="region" aria-label="chart of all mechanisms">']
    parts.append(f'<svg class="chart" viewBox="0 0 {WIDTH} {high}" role="group" aria-label="cost against reach">')
    for k, name in enumerate(LANES):
        parts.append(f'<rect class="lane" x="{LEFT}" y="{k * LANE + 4}" width="{WIDTH - LEFT}" height="{LANE - 8}"/>')
        parts.append(f'<text x="{LEFT - 12}" y="{(k + 0.5) * LANE + 5}" text-anchor="end">{name}</text>')
    for power, label in TICKS.items():
        parts.append(f'<text x="{across(power)}" y="{high - 36}" text-anchor="middle">{label}</text>')
    middle = (LEFT + WIDTH) / 2
    parts.append(f'<text x="{middle}" y="{high - 8}" text-anchor="middle">cost, a 3 × 3 convolution as 1</text>')
    return "\n".join([*parts, *dots(cards), "</svg></div>", legend()])


def across(power: float) -> float:
    return round(LEFT + 30 + (max(power, LEAST) - LEAST) / (MOST - LEAST) * (WIDTH - LEFT - RIGHT - 30), 1)


def lane(card: Card) -> int:
    places = card.reach.shares[0]
    return 0 if places > 0.9 else 1 if places > 0.01 else 2


def dots(cards: list[Card]) -> list[str]:
    """Dots at nearly the same cost stand above and below each other."""
    found, taken = [], Counter[tuple[int, int]]()
    for card in (card for card in cards if card.sizes):
        x = across(log10(card.relative) if card.relative > 0 else LEAST)
        here = (lane(card), round(x / STEP))
        k, taken[here] = taken[here], taken[here] + 1
        y = (here[0] + 0.5) * LANE + (-1) ** k * (k + 1) // 2 * STEP
        found.append(dot(card, here[1] * STEP, y))
    return found


def dot(card: Card, x: float, y: float) -> str:
    kind = list(QUESTIONS).index(card.row.room)
    words = html.escape(f"{card.row.title}: cost {card.relative:.3g}, hears {LANES[lane(card)]}")
    side, shift = ("end", -12) if x > WIDTH * 0.65 else ("start", 12)
    label = f'<text x="{x + shift}" y="{y + 5}" text-anchor="{side}">{html.escape(card.row.title)}</text>'
    circle = f'<circle class="room-{kind}" cx="{x}" cy="{y}" r="8"/>'
    return f'<a href="mechanisms/{card.row.name}.html" aria-label="{words}">{circle}{label}</a>'


def legend() -> str:
    items = [f'<li><span class="room-{k}"></span>{question}</li>' for k, question in enumerate(QUESTIONS.values())]
    return f'<ul class="legend">{"".join(items)}</ul>'
