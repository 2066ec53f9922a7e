"""Feedback as one zip to upload: each page under the name by which Canvas or Moodle finds its student."""

import io
import re
import zipfile

from course_lib.grading.marks import Marks, Record
from course_lib.grading.reports.apart import each, student
from course_lib.grading.reports.pages import page_name, student_page

FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the same zip each time


def feedback(marks: Marks) -> dict[str, bytes]:
    """The page of each student who handed in something.

    Canvas reads identifier and attachment number from the name (``ada_18_99_feedback.html``), Moodle name and number
    (``Ada_7_assignsubmission_file_feedback.html``): so each page starts as the file did that the student handed in.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        handed_in = [record for record in marks.records if not record.missing or record.override]
        for name, page in each(
            handed_in, lambda one: (feedback_name(one, marks.slug), student_page(marks, one)), student
        ):
            archive.writestr(zipfile.ZipInfo(name, FIRST_DAY), page)
    return {"feedback.zip": out.getvalue()}


def feedback_name(record: Record, slug: str) -> str:
    start = record.upload if record.upload.endswith("_") or not record.upload else f"{record.upload}_"
    start = re.sub(r'[\\/:*?"<>|]', "_", start)
    return f"{start}feedback_{slug}.html" if start else f"{page_name(record)}.html"
