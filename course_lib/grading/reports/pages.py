"""Marks as pages: one for each student, and the instructor's summary with its picture."""

import hashlib
import re
from collections import Counter
from functools import partial

import jinja2

from course_lib.grading.marks import (
    CUT_SHORT,
    Marks,
    Record,
    TaskMark,
    by_name,
    called,
    listed,
    namesakes,
    people,
    without_accents,
)
from course_lib.grading.reports.picture import picture

MAX_NOTES = 20
MAX_NAMES = 12  # of those who made a mistake
SYNTAX = re.compile(r"is not Python|SyntaxError|IndentationError|TabError")
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b;
  overflow-wrap: break-word }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem } .wide { overflow-x: auto }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ccc; vertical-align: top }
td.any { overflow-wrap: anywhere; min-width: 10rem } td.number, th.number { text-align: right; white-space: nowrap }
code { background: #f2f2f2; padding: 0 .2rem } img { max-width: 100% }
.said { border-left: 4px solid #555; padding-left: .8rem; margin: .4rem 0 }
.said { white-space: pre-wrap; overflow-wrap: anywhere }
.warning { border: 3px solid #a00; padding: .5rem 1rem } .first { border: 2px solid #d55e00; padding: .2rem 1rem }
.quiet { color: #555 }
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
    + """<p>{{ record.student }}{% if record.file %} · {{ record.file }}{% endif %}</p>
{% if record.override %}<p><strong>{{ record.mark }} of {{ marks.points }} points</strong>, given by hand:
{{ record.override.reason }}
{%- if record.earned is not none %} <span class="quiet">(the tests say {{ record.earned }})</span>{% endif %}</p>
{% elif not record.problem %}<p><strong>{{ record.mark }} of {{ marks.points }} points</strong></p>{% endif %}
{% if record.problem %}<p><strong>Not graded{{ " by the tests" if record.override }}:</strong>
{{ record.problem }}</p>{% endif %}
{% if record.late %}<p>{{ record.late.words | capitalize_first }}
{%- if record.penalty %}: {{ "%g" % record.penalty }} points less by the rule for late work,
{{ "%g" % record.after_late }} remain{% endif %}.</p>{% endif %}
{% if unread %}<div class="first"><p><strong>Mend this first:</strong> Python cannot read a cell, so nothing in it
exists, and what uses it fails too.</p>
{% for note in unread %}<p class="said">{{ note }}</p>{% endfor %}</div>{% endif %}
{% for task in record.tasks %}
<h2>{{ "✓" if task.mark == task.points else "✗" }} {{ task.task }} · {{ titles[task.task] }}</h2>
<p>{{ task.mark }} of {{ task.points }} point{{ "s" if task.points != 1 }}
{%- if task.given %}, given by hand: {{ task.given.reason }}
<span class="quiet">(the tests say {{ task.earned }})</span>{% endif %}</p>
{% if follows(task) and cut_short not in task.check %}
<p class="quiet">This follows, it seems, from the cell that cannot be read: {{ task.check }}</p>
{% elif task.check %}<p>What the grader saw first:</p><p class="said">{{ task.check }}</p>
{% elif task.mark < task.points %}<p>The visible check holds; with other sizes and values the answer is not right.</p>
{% endif %}
{% if task.mark < task.points and not follows(task) %}
{% if task.sentence %}<p><strong>What happened:</strong> {{ task.sentence }}</p>{% endif %}
{% if task.hints %}<p>To find it:</p><ul>{% for hint in task.hints %}<li>{{ hint }}</li>{% endfor %}</ul>{% endif %}
{% endif %}
{% endfor %}
{% if notes %}<h2>Notes</h2><ul>{% for note in notes[:most] %}<li>{{ note }}</li>{% endfor %}
{% if notes | length > most %}<li>and {{ notes | length - most }} more</li>{% endif %}</ul>{% endif %}
<h2>Run the checks yourself</h2>
<p>In a terminal, in the folder of the course: <code>.venv/bin/course check {{ number }}</code>.
Or open the notebook and choose <em>Run all cells</em>: the cell under each task says in words what is missing.</p>
</body></html>
"""
)

# The same on the page of one lesson and on that of several; its rows are (marks, record).
ASKED = """{% if asked %}<h2>Asked for what is not theirs</h2>
<p>The code of these asked for hidden tests, solutions, marks or other processes, or looked through everything
(<code>/</code>). {{ "There was no sandbox: look at what it got." if "unsafe" in marks.sandbox else
"It was refused: none of that is in the sandbox." }} Read the notebook before you judge; no mark depends on it.
</p>
<div class="wide"><table><tr><th scope="col">student</th>{% if lessons %}<th scope="col">lesson</th>{% endif %}
<th scope="col">asked for</th></tr>
{% for one, record in asked %}<tr><td><a href="{% if lessons %}{{ one.slug }}/{% endif -%}
students/{{ page_name(record) }}.html">{{ name(record) }}</a></td>
{% if lessons %}<td>{{ one.slug }}</td>{% endif %}<td class="any">
{%- for what in record.asked %}<code>{{ what }}</code>{{ ", " if not loop.last }}{% endfor %}</td></tr>
{% endfor %}</table></div>{% endif %}
"""

SUMMARY = (
    HEAD
    + """{% macro link(record) %}<a href="students/{{ page_name(record) }}.html">
{{- name(record) }}</a>{% endmacro %}
<p>{{ marks.graded | length }} graded{% if marks.problems %}, <strong>{{ marks.problems | length }} not
graded</strong>{% endif %}{% if alone %}, {{ alone | length }} marked by hand
alone{% endif %}{% if marks.missing %}, {{ marks.missing | length }} handed in nothing{% endif %}
 · {{ marks.points }} points to earn{% if marks.sandbox %} · sandbox: {{ marks.sandbox }}{% endif %}</p>
<img src="{{ image }}" alt="{{ described }}">
<p>{{ described }}</p>
{% if marks.problems %}<h2>Not graded</h2>
<div class="wide"><table><tr><th scope="col">student</th><th scope="col">file</th><th scope="col">why</th></tr>
{% for record in marks.problems %}<tr><td>{{ link(record) }}</td><td class="any">{{ record.file }}</td>
<td class="any">{{ record.problem }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% if marks.missing %}<h2>Handed in nothing</h2>
<div class="wide"><table><tr><th scope="col">student</th><th scope="col">id</th><th scope="col">section</th></tr>
{% for record in marks.missing %}<tr><td>{{ name(record) }}</td><td>{{ record.id }}</td>
<td>{{ record.section }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% if late %}<h2>Late</h2>
<div class="wide"><table><tr><th scope="col">student</th><th scope="col">how late</th>
<th scope="col" class="number">mark</th><th scope="col" class="number">less</th>
<th scope="col" class="number">remain</th></tr>
{% for record in late %}<tr><td>{{ link(record) }}</td><td>{{ record.late.words }}</td>
<td class="number">{{ record.mark if record.mark is not none else "–" }}</td>
<td class="number">{{ "%g" % record.penalty }}</td>
<td class="number">{{ "%g" % record.after_late if record.after_late is not none else "–" }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% if by_hand %}<h2>Marks given by hand</h2>
<div class="wide"><table><tr><th scope="col">student</th><th scope="col" class="number">mark</th>
<th scope="col" class="number">tests</th><th scope="col">reason</th></tr>
{% for record in by_hand %}<tr><td>{{ link(record) }}</td><td class="number">{{ record.mark }}</td>
<td class="number">{{ record.earned if record.earned is not none else "–" }}</td>
<td>{{ record.reasons | join("; ") }}</td></tr>
{% endfor %}</table></div>{% endif %}
<h2>Tasks</h2>
<div class="wide"><table><tr><th scope="col">task</th><th scope="col" class="number">points</th>
<th scope="col" class="number">earned by</th><th scope="col">why not</th></tr>
{% for task in tasks %}<tr><td>{{ task.name }} · {{ task.title }}</td><td class="number">{{ task.points }}</td>
<td class="number">{{ task.earned_by }} of {{ marks.graded | length }}</td><td>{{ task.why }}</td></tr>
{% endfor %}</table></div>
{% if mistakes %}<h2>Mistakes with a name</h2>
<div class="wide"><table><tr><th scope="col">wrong answer</th><th scope="col">in words</th>
<th scope="col">submissions</th></tr>
{% for name, sentence, students in mistakes %}<tr><td><code>{{ name }}</code></td><td>{{ sentence }}</td>
<td>{{ students | length }}: {{ listed(students[:names]) }}
{%- if students | length > names %} and {{ students | length - names }} more{% endif %}</td></tr>
{% endfor %}</table></div>{% endif %}
{% if marks.similar %}<h2>Much more alike than this class</h2>
<p>Three quarters or more of what these wrote is the same after renaming, and so rare in this class that chance would
give less than one such pair. A hint to look at the notebooks side by side, no more.</p>
<ul>{% for group in marks.similar %}<li>{{ listed(group) }}</li>{% endfor %}</ul>{% endif %}
"""
    + ASKED
    + """<h2>Submissions</h2>
<div class="wide"><table><tr><th scope="col">student</th>{% if sections %}<th scope="col">section</th>{% endif %}
<th scope="col" class="number">earned</th>{% if by_hand %}<th scope="col" class="number">by hand</th>{% endif %}
{% for task in marks.tasks %}<th scope="col" class="number">{{ task.name }}</th>{% endfor %}</tr>
{% for record in marks.marked %}<tr><td>{{ link(record) }}</td>
{% if sections %}<td>{{ record.section }}</td>{% endif %}
<td class="number">{{ record.earned if record.earned is not none else "–" }}</td>
{% if by_hand %}<td class="number">{% if record.reasons %}{{ record.mark }}*{% endif %}</td>{% endif %}
{% for task in record.tasks %}<td class="number">{{ task.earned }}
{%- if task.given %} → {{ task.mark }}*{% endif %}</td>
{% else %}{% for task in marks.tasks %}<td class="number">–</td>{% endfor %}{% endfor %}</tr>
{% endfor %}</table></div>
{% if by_hand %}<p class="quiet">An asterisk: given by hand, and it counts; the tests say what stands before it.</p>
{% endif %}
</body></html>
"""
)

OVERVIEW = (
    HEAD
    + """{% macro cell(marks, record) %}{% if record %}
<a href="{{ marks.slug }}/students/{{ page_name(record) }}.html">
{%- if record.mark is not none %}{{ record.mark }}{{ "*" if record.reasons }}{{ "+" if record.late }}
{%- else %}{{ "–" if record.missing else "not graded" }}{% endif %}</a>{% endif %}{% endmacro %}
<div class="wide"><table><tr><th scope="col">lesson</th><th scope="col" class="number">graded</th>
<th scope="col" class="number">not graded</th><th scope="col" class="number">handed in nothing</th>
<th scope="col" class="number">points</th><th scope="col">marks</th></tr>
{% for marks in lessons %}<tr><td><a href="{{ marks.slug }}/summary.html">{{ marks.slug }}</a></td>
<td class="number">{{ marks.records | length - marks.problems | length - marks.missing | length }}</td>
<td class="number">{{ marks.problems | length }}</td>
<td class="number">{{ marks.missing | length }}</td><td class="number">{{ marks.points }}</td>
<td class="any">{{ described(marks) }}</td></tr>
{% endfor %}</table></div>
{% if problems %}<h2>Not graded</h2>
<div class="wide"><table><tr><th scope="col">student</th><th scope="col">lesson</th><th scope="col">file</th>
<th scope="col">why</th></tr>
{% for marks, record in problems %}<tr><td><a href="{{ marks.slug }}/students/{{ page_name(record) }}.html">
{{- name(record) }}</a></td><td>{{ marks.slug }}</td><td class="any">{{ record.file }}</td>
<td class="any">{{ record.problem }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% if missing %}<h2>Handed in nothing</h2>
<div class="wide"><table><tr><th scope="col">student</th>{% if sections %}<th scope="col">section</th>{% endif %}
<th scope="col">lessons</th></tr>
{% for record, slugs in missing %}<tr><td>{{ name(record) }}</td>
{% if sections %}<td>{{ record.section }}</td>{% endif %}<td>{{ slugs | join(", ") }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% if late %}<h2>Late</h2>
<div class="wide"><table><tr><th scope="col">student</th><th scope="col">lesson</th><th scope="col">how late</th>
<th scope="col" class="number">mark</th><th scope="col" class="number">less</th>
<th scope="col" class="number">remain</th></tr>
{% for marks, record in late %}<tr><td><a href="{{ marks.slug }}/students/{{ page_name(record) }}.html">
{{- name(record) }}</a></td><td>{{ marks.slug }}</td><td>{{ record.late.words }}</td>
<td class="number">{{ record.mark if record.mark is not none else "–" }}</td>
<td class="number">{{ "%g" % record.penalty }}</td>
<td class="number">{{ "%g" % record.after_late if record.after_late is not none else "–" }}</td></tr>
{% endfor %}</table></div>{% endif %}
"""
    + ASKED
    + """<h2>Students</h2>
<div class="wide"><table><tr><th scope="col">student</th>{% if sections %}<th scope="col">section</th>{% endif %}
{% for marks in lessons %}<th scope="col" class="number">{{ marks.slug }}</th>{% endfor %}
<th scope="col" class="number">total</th>
{% if late %}<th scope="col" class="number">after late</th>{% endif %}</tr>
{% for records in students %}<tr><td>{{ name(records.values() | first) }}</td>
{% if sections %}<td>{{ (records.values() | first).section }}</td>{% endif %}
{% for marks in lessons %}<td class="number">{{ cell(marks, records.get(marks.slug)) }}</td>{% endfor %}
<td class="number">{{ total(records, "mark") }}</td>
{% if late %}<td class="number">{{ total(records, "after_late") }}</td>{% endif %}</tr>
{% endfor %}</table></div>
<p class="quiet">Each mark leads to the student's page. An asterisk: given by hand. A plus: late.
Marks and total do not count lateness{% if late %}; "after late" does{% endif %}.</p>
</body></html>
"""
)

templates = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
templates.filters["capitalize_first"] = lambda words: words[:1].upper() + words[1:]
student_template, summary_template = templates.from_string(STUDENT), templates.from_string(SUMMARY)
overview_template = templates.from_string(OVERVIEW)


def html(marks: Marks) -> dict[str, str | bytes]:
    """The summary, its picture, and a page for each student."""
    pages: dict[str, str | bytes] = {"summary.html": summary(marks), "distribution.png": picture(marks)}
    return pages | {f"students/{page_name(record)}.html": page_or_why(marks, record) for record in marks.records}


def page_or_why(marks: Marks, record: Record) -> str:
    """A student's page; whatever goes wrong with one is said on that one."""
    try:
        return student_page(marks, record)
    except Exception as error:
        problem = f"this page cannot be written ({type(error).__name__}); the marks in the tables stand"
        return student_page(marks, Record("", record.id, "", problem=problem))


def overview_page(*lessons: Marks) -> dict[str, str | bytes]:
    """The page above several lessons: a row a student, a column a lesson."""
    rows = [(marks, record) for marks in lessons for record in marks.records]
    students = [found for _, found in by_name(people(lessons))]
    text = overview_template.render(
        marks=max(lessons, key=lambda marks: "unsafe" in marks.sandbox),
        lessons=lessons,
        style=STYLE,
        title="Marks of " + ", ".join(marks.slug[:2] for marks in lessons),
        students=students,
        problems=[(marks, record) for marks in lessons for record in marks.problems],
        missing=[(found[slugs[0]], slugs) for found in students if (slugs := missing(found))],
        sections=any(record.section for _, record in rows),
        late=[(marks, record) for marks, record in rows if record.late],
        asked=[(marks, record) for marks, record in rows if record.asked],
        name=partial(called, shared=namesakes(lessons)),
        described=described,
        page_name=page_name,
        total=total,
    )
    return {"summary.html": text}


def missing(records: dict[str, Record]) -> list[str]:
    """The lessons in which a student handed in nothing."""
    return [slug for slug, record in records.items() if record.missing]


def total(records: dict[str, Record], what: str) -> str:
    """The sum of a student's marks, or of what remains of them "after_late"."""
    marks = [getattr(record, what) for record in records.values() if record.mark is not None]
    return f"{sum(marks):g}" if marks else "–"


def page_name(record: Record) -> str:
    """A file name that nobody's name can turn into a path, and that no two submissions share."""
    digest = hashlib.sha256(repr((record.student, record.id, record.file)).encode()).hexdigest()
    plain = re.sub(r"[^A-Za-z0-9@.-]+", "_", without_accents(record.student)).strip("._")[:60]
    return f"{plain}-{digest[:8]}" if plain else digest[:16]


def student_page(marks: Marks, record: Record) -> str:
    """What one student reads: her points, her own exception or line, authored hints; nothing of a hidden test."""
    unread = [note for note in record.notes if SYNTAX.search(note)]

    def follows(task: TaskMark) -> bool:
        """Whether a task fails only because a cell did not run to its end, or could not be read."""
        lost = "NameError" in task.check or bool(SYNTAX.search(task.check))
        return not task.earned and (CUT_SHORT in task.check or (bool(unread) and lost))

    return student_template.render(
        marks=marks,
        record=record,
        unread=unread[:MAX_NOTES],
        notes=[note for note in record.notes if note not in unread],
        most=MAX_NOTES,
        follows=follows,
        cut_short=CUT_SHORT,
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
        late=[record for record in marks.records if record.late],
        lessons=(),
        asked=[(marks, record) for record in marks.records if record.asked],
        by_hand=[record for record in marks.records if record.reasons],
        alone=[record for record in marks.marked if record.problem and not record.missing],
        sections=any(record.section for record in marks.records),
        names=MAX_NAMES,
        listed=listed,
        name=partial(called, shared=namesakes([marks])),
        page_name=page_name,
    )


def described(marks: Marks) -> str:
    """The picture in words."""
    earned = sorted(record.earned or 0 for record in marks.graded)
    if not earned:
        return "No submission was graded."
    half = len(earned) // 2
    median = earned[half] if len(earned) % 2 else (earned[half - 1] + earned[half]) / 2
    said = (
        f"The median is {median:g} of {marks.points} points, the lowest mark {earned[0]}, the highest {earned[-1]}; "
    )
    if earned[0] == marks.points:
        return f"{said}nobody missed a task."
    missed = min(marks.tasks, key=lambda task: sum(earns(record, task.name) for record in marks.graded))
    return f"{said}the task most missed is {missed.name} ({missed.title})."


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
    shared = namesakes([marks])
    for record in marks.graded:
        for task in record.tasks:
            if task.mistake:
                found.setdefault((task.mistake, task.sentence), []).append(called(record, shared))
    rows = [(name, sentence, students) for (name, sentence), students in found.items()]
    return sorted(rows, key=lambda row: (-len(row[2]), row[0]))
