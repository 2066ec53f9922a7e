"""The website: Sphinx reads notebooks and generated pages, and ``make site`` needs nothing else.

course     what the pages tell of lessons and exercises, read from their sources
cards      what the pages tell of mechanisms, read from catalogue, docstring and running module
glossary   each term in the sentence that introduces it;  open_questions  each answered in a lesson's sentences
papers     the bibliography;  chart  cost against reach;  syllabus  the lessons spread over weeks
needs      which lesson needs which, as a picture
head       what stands in the head of a page: its description, and where the page of lost addresses has its root
reach      what one output number depends on, as a picture
moving     the moving picture of README.md
pages      the templates of site/pages become documents
notebooks  a notebook becomes a page: no badge, no set-up, sliders that move
formulas   several formulas of one line, beside or below each other; short ones in a text are not torn
reference  docstrings become pages
sidebar    the list of all documents, which every page shows
"""

from sphinx.application import Sphinx

from course_lib.authoring.website import formulas, head, notebooks, pages, reference, sidebar


def setup(app: Sphinx) -> dict:
    for part in (pages, notebooks, formulas, reference, head, sidebar):
        part.setup(app)
    return {"parallel_read_safe": False}
