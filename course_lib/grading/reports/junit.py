"""Marks as JUnit XML: a suite for each submission, a case for each task."""

import re
from xml.etree import ElementTree

from course_lib.grading.marks import Marks, Record
from course_lib.grading.reports.apart import each, student
from course_lib.grading.reports.tables import sentence

FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML cannot hold these


def junit(marks: Marks) -> dict[str, bytes]:
    """One file; a submission that could not be graded is an error."""
    suites = ElementTree.Element("testsuites", name=marks.slug)
    suites.extend(each(marks.records, suite, student))
    return {"junit.xml": ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)}


def suite(record: Record) -> ElementTree.Element:
    missed = [task for task in record.tasks if not task.earned]
    counts = {"tests": len(record.tasks) or 1, "failures": len(missed), "errors": int(bool(record.problem))}
    attributes = {"name": clean(record.student)} | {key: str(value) for key, value in counts.items()}
    found = ElementTree.Element("testsuite", attributes)
    for task in record.tasks:
        case = ElementTree.SubElement(found, "testcase", classname=clean(record.student), name=task.task)
        if not task.earned:
            ElementTree.SubElement(case, "failure", type=task.reason, message=clean(sentence(task)))
    if record.problem:
        case = ElementTree.SubElement(found, "testcase", classname=clean(record.student), name="submission")
        ElementTree.SubElement(case, "error", message=clean(record.problem))
    return found


def clean(text: str) -> str:
    return FORBIDDEN.sub("�", text)
