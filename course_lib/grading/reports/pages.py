"""Marks as pages: one for each student, and the instructor's summary with its picture."""

import hashlib
import re
from collections import Counter

import jinja2

from course_lib.grading.marks import Marks, Record
from course_lib.grading.reports.picture import picture

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ccc }
td.number, th.number { text-align: right } code { background: #f2f2f2; padding: 0 .2rem } img { max-width: 100% }
.said { border-left: 4px solid #555; padding-left: .8rem; margin: .4rem 0 }
.warning { border: 3px solid #a00; padding: .5rem 1rem }
"""

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self'; style-src 'unsafe-inline'">
<title>{{ title }}</title><style>{{ style }}</style></head><body>
<h1>{{ title }}</h1>
{% if "unsafe" in marks.sandbox %}<p class="warning">Graded without a sandbox (<code>--unsafe-no-sandbox</code>):
a submission could have changed any mark.</p>{% endif %}
"""

STUDENT = (
    HEAD
    + """<p>{{ record.student }} · {{ record.file }}</p>
{% if record.problem %}<p><strong>Not graded:</strong> {{ record.problem }}</p>
{% else %}<p><strong>{{ record.earned }} of {{ marks.points }} points</strong></p>
{% for task in record.tasks %}
<h2>{{ "✓" if task.earned else "✗" }} {{ task.task }} · {{ titles[task.task] }}</h2>
<p>{{ task.earned }} of {{ task.points }} point{{ "s" if task.points != 1 }}</p>
{% if task.check %}<p>What the grader saw first:</p><p class="said">{{ task.check }}</p>
{% elif not task.earned %}<p>The visible check holds; with other sizes and values the answer is not right.</p>
{% endif %}
{% if not task.earned %}
{% if task.sentence %}<p><strong>What happened:</strong> {{ task.sentence }}</p>{% endif %}
{% if task.hints %}<p>To find it:</p><ul>{% for hint in task.hints %}<li>{{ hint }}</li>{% endfor %}</ul>{% endif %}
{% endif %}
{% endfor %}
{% if record.notes %}<h2>Notes</h2><ul>{% for note in record.notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
{% endif %}
<h2>Run the checks yourself</h2>
<p>In a terminal, in the folder of the course: <code>course check {{ number }}</code>. Or open the notebook and choose
<em>Run all cells</em>: the cell under each task says in words what is missing.</p>
</body></html>
"""
)

SUMMARY = (
    HEAD
    + """<p>{{ marks.graded | length }} graded{% if marks.problems %}, <strong>{{ marks.problems | length }} not
graded</strong>{% endif %} · {{ marks.points }} points to earn · sandbox: {{ marks.sandbox }}</p>
<img src="{{ image }}" alt="{{ described }}">
<p>{{ described }}</p>
<h2>Tasks</h2>
<table><tr><th scope="col">task</th><th scope="col" class="number">points</th>
<th scope="col" class="number">earned by</th><th scope="col">why not</th></tr>
{% for task in tasks %}<tr><td>{{ task.name }} · {{ task.title }}</td><td class="number">{{ task.points }}</td>
<td class="number">{{ task.earned_by }} of {{ marks.graded | length }}</td><td>{{ task.why }}</td></tr>
{% endfor %}</table>
{% if mistakes %}<h2>Mistakes with a name</h2>
<table><tr><th scope="col">wrong answer</th><th scope="col">in words</th><th scope="col">submissions</th></tr>
{% for name, sentence, students in mistakes %}<tr><td><code>{{ name }}</code></td><td>{{ sentence }}</td>
<td>{{ students | length }}: {{ students | join(", ") }}</td></tr>
{% endfor %}</table>{% endif %}
{% if marks.problems %}<h2>Not graded</h2>
<table><tr><th scope="col">student</th><th scope="col">file</th><th scope="col">why</th></tr>
{% for record in marks.problems %}<tr><td>{{ record.student }}</td><td>{{ record.file }}</td>
<td>{{ record.problem }}</td></tr>
{% endfor %}</table>{% endif %}
<h2>Submissions</h2>
<table><tr><th scope="col">student</th><th scope="col" class="number">earned</th>
{% for task in marks.tasks %}<th scope="col" class="number">{{ task.name }}</th>{% endfor %}</tr>
{% for record in marks.graded %}<tr><td><a href="students/{{ page_name(record) }}.html">{{ record.student }}</a></td>
<td class="number">{{ record.earned }}</td>
{% for task in record.tasks %}<td class="number">{{ task.earned }}</td>{% endfor %}</tr>
{% endfor %}</table>
</body></html>
"""
)

templates = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
student_template, summary_template = templates.from_string(STUDENT), templates.from_string(SUMMARY)


def html(marks: Marks) -> dict[str, str | bytes]:
    """The summary, its picture, and a page for each student."""
    pages: dict[str, str | bytes] = {"summary.html": summary(marks), "distribution.png": picture(marks)}
    return pages | {f"students/{page_name(record)}.html": student_page(marks, record) for record in marks.records}


def page_name(record: Record) -> str:
    """A file name that nobody's name can turn into a path, and that no two submissions share."""
    digest = hashlib.sha256(repr((record.student, record.id, record.file)).encode()).hexdigest()
    plain = re.sub(r"[^A-Za-z0-9@.-]+", "_", record.student).strip("._")[:60]
    return f"{plain}-{digest[:8]}" if plain else digest[:16]


def student_page(marks: Marks, record: Record) -> str:
    """What one student reads: her points, her own exception or line, authored hints; nothing of a hidden test."""
    return student_template.render(
        marks=marks,
        record=record,
        style=STYLE,
        title=f"Exercise {marks.slug[:2]} · {marks.slug[3:].replace('_', ' ')}",
        number=marks.slug[:2],
        titles={task.name: task.title for task in marks.tasks},
    )


def summary(marks: Marks) -> str:
    """What the instructor reads first."""
    return summary_template.render(
        marks=marks,
        style=STYLE,
        title=f"Marks of exercise {marks.slug}",
        image="distribution.png",
        described=described(marks),
        tasks=[task_row(marks, place) for place in range(len(marks.tasks))],
        mistakes=mistakes(marks),
        page_name=page_name,
    )


def described(marks: Marks) -> str:
    """The picture in words."""
    earned = sorted(record.earned or 0 for record in marks.graded)
    if not earned:
        return "No submission was graded."
    half = len(earned) // 2
    median = earned[half] if len(earned) % 2 else (earned[half - 1] + earned[half]) / 2
    missed = sorted(marks.tasks, key=lambda task: sum(earns(record, task.name) for record in marks.graded))
    return (
        f"The median is {median:g} of {marks.points} points, the lowest mark {earned[0]}, the highest {earned[-1]}; "
        f"the task most missed is {missed[0].name} ({missed[0].title})."
    )


def earns(record: Record, task: str) -> bool:
    return any(mark.task == task and mark.earned for mark in record.tasks)


def task_row(marks: Marks, place: int) -> dict:
    task = marks.tasks[place]
    seen = [mark for record in marks.graded for mark in record.tasks if mark.task == task.name]
    reasons = Counter(mark.reason for mark in seen if not mark.earned)
    why = ", ".join(
        f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    )
    earned_by = sum(1 for mark in seen if mark.earned)
    return {"name": task.name, "title": task.title, "points": task.points, "earned_by": earned_by, "why": why}


def mistakes(marks: Marks) -> list[tuple[str, str, list[str]]]:
    """Each named wrong answer that somebody gave, its sentence, and who gave it; the most frequent first."""
    found: dict[tuple[str, str], list[str]] = {}
    for record in marks.graded:
        for task in record.tasks:
            if task.mistake:
                found.setdefault((task.mistake, task.sentence), []).append(record.student)
    rows = [(name, sentence, students) for (name, sentence), students in found.items()]
    return sorted(rows, key=lambda row: (-len(row[2]), row[0]))
