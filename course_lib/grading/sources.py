"""Which of several things counts that one student handed in for one lesson.

Two that could be graded are an error that lists both: nobody guesses. The instructor decides by giving one by itself,
``course grade mail/ada.ipynb --out RESULTS``: it counts for its student, in later runs over whole downloads too, for
as long as it stays where it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from course_lib.grading.archives import ZIP, Found
from course_lib.grading.identity import NAMELESS, is_nameless, who_of
from course_lib.grading.marks import Marks, Record, listed
from course_lib.grading.submissions import DECIDE, TWO, Download, Submission
from course_lib.grading.whose import nearest, same_person

NOT_LISTED = "not on the roster"
NOT_COUNTED = "not counted: "
BY_ITSELF = "was graded by itself"


# From what was found to what is graded


def by_itself(download: Download, here: Path, place: Path) -> Download:
    """The download, marked as given by itself where ``here`` is one student's: a file, or what lies in ``place``."""
    people = {one.who for found in download.lessons.values() for one in found}
    file = here.is_file() and not Found((here.name,), here).head().startswith(ZIP)
    if len(people) != 1 or not (file or here != place or who_of(here.name).platform != "plain"):
        return download
    lessons = {slug: [one._replace(by_itself=str(here)) for one in found] for slug, found in download.lessons.items()}
    return download._replace(lessons=lessons)


def in_their_place(download: Download, alone: Iterable[Download]) -> Download:
    """A download with what was given by itself before in the place of the same students' things."""
    lessons = {slug: {one.who: one for one in found} for slug, found in download.lessons.items()}
    for other in alone:
        for slug in lessons.keys() & other.lessons.keys():
            for one in other.lessons[slug]:
                lessons[slug][one.who] = instead(one, lessons[slug].get(one.who))
    return download._replace(lessons={slug: list(found.values()) for slug, found in lessons.items()})


def instead(one: Submission, other: Submission | None) -> Submission:
    """What was given by itself, with a note of what it replaces."""
    files = [] if other is None else [each for each in other.file.split(" and ") if each not in one.file]
    if other is None or not files:
        return one
    note = f"{NOT_COUNTED}{' and '.join(files)} ({one.file} {BY_ITSELF})"
    return one._replace(notes=(*one.notes, note), upload=other.upload or one.upload)


# From records to the one that counts


def one_source(name: str, found: list[Record]) -> list[Record]:
    """What counts of a person's records of one lesson: the one that could be graded; of two such, none.

    What was given by itself goes first. A copy that came with another lesson counts where there is nothing else.
    """
    graded = [one for one in found if not one.problem]
    alone = [one for one in graded if is_there(one)][:1]
    graded = alone or [one for one in graded if not one.by_itself] or graded
    graded = [one for one in graded if not one.aside] or graded
    others = [one for one in found if one not in graded]
    if len(graded) > 1:
        words = f"{TWO} for {name}: {' and '.join(sorted(one.file for one in graded))}; {DECIDE}"
        return [replace(one, tasks=(), problem=words) for one in graded]
    return [in_place_of(others, graded[0])] if graded else others


def as_before(record: Record, earlier: Iterable[Record]) -> Record:
    """A row of a file that was given by itself again: it stands in the same place, and is called the same."""
    for old in earlier:
        if record.by_itself and old.who == record.who and old.by_itself == record.by_itself and old.also:
            replaces = tuple(note for note in old.notes if note.endswith(f"{BY_ITSELF})"))
            record = replace(record, notes=record.notes + replaces, also=old.also, participant=old.participant)
            return replace(record, student=old.student, id=old.id, upload=old.upload)
    return record


def is_there(record: Record) -> bool:
    """Whether a row is of a file that was given by itself, and that is still where it was."""
    return bool(record.by_itself) and Path(record.by_itself).exists()


def is_left_over(record: Record) -> bool:
    """Whether a row holds no mark, and is of a file that was given by itself and is not there any more."""
    return bool(record.by_itself and record.problem) and record.override is None and not is_there(record)


def in_place_of(others: list[Record], one: Record) -> Record:
    """The record that counts, with a note of each that does not; by itself, it is called as they are."""
    notes = tuple(f"{NOT_COUNTED}{other.file} ({why_not(other, one)})" for other in others if other.file)
    also = tuple(dict.fromkeys((*one.also, *(other.who for other in others))))
    one = replace(one, notes=tuple(dict.fromkeys(one.notes + notes)), also=also)
    if not one.by_itself or not others:
        return one
    first = next((other for other in others if other.on_platform), others[0])
    return replace(
        one,
        student=first.student,
        id=first.id or one.id,
        upload=first.upload or one.upload,
        participant=first.id_on_moodle or one.participant,
    )


def why_not(other: Record, one: Record) -> str:
    if other.problem and not other.problem.startswith(TWO):
        return other.problem
    if other.by_itself:
        return "another was given by itself" if is_there(other) else "it is not where it was graded"
    return f"{one.file} {BY_ITSELF}" if one.by_itself else "it came with another lesson"


def without_roster(records: list[Record], slug: str) -> list[Record]:
    """The records, each one that was given by itself in the place of the one other of the same name."""
    left = list(records)
    for one in [each for each in records if each.by_itself and not each.on_platform]:
        if one not in left:
            continue
        same = [each for each in left if each is not one and same_person(one, each)]
        if len(same) == 1:
            counts = one_source(one.student, [one, *same])
            left = [each for each in left if each is not one and each not in same] + counts
        elif len(left) > 1 and is_nameless(one.who, [slug]):
            left[left.index(one)] = replace(one, tasks=(), problem=NAMELESS)
    return left


def new_rows(lessons: tuple[Marks, ...], earlier: Mapping[tuple[str, str], Record]) -> list[str]:
    """Which files that were given by themselves stand in nobody's place, and what to do where they should.

    Whoever is on the roster stands in her own, also if she handed in nothing before.
    """
    known = {slug for slug, _ in earlier}
    told = [(marks, one) for marks in lessons if marks.slug in known for one in marks.graded if one.by_itself]
    return [
        f"{marks.slug}: {record.file} is a new row, {record.student}, since no row has that name; should it stand in "
        f"somebody's place ({listed(nearest((marks,), record.student, but=record))}?), give the file that name and "
        f"grade it again{'' if record.section == NOT_LISTED else ', into a new --out'}"
        for marks, record in told
        if not record.person and not record.also and (marks.slug, record.who) not in earlier
    ]


def moved_away(lessons: tuple[Marks, ...], earlier: Mapping[tuple[str, str], Record]) -> list[str]:
    """Which files that were given by themselves count no more, because they are not there, and what counts now."""
    now = {(marks.slug, one): record for marks in lessons for record in marks.records for one in record.known_as}
    left = [(slug, old, now.get((slug, who))) for (slug, who), old in earlier.items() if old.by_itself]
    return [
        f"{slug}: {new.student}: {old.file} is not where it was graded, so {new.file} counts; put it back to count it"
        for slug, old, new in left
        if new and new.file and not new.by_itself
    ]


def rows_gone(lessons: tuple[Marks, ...], earlier: Mapping[tuple[str, str], Record]) -> list[str]:
    """Whose rows are not in the tables any more, because what they were of is not there.

    Who handed in nothing and has no row now was taken from the roster: that needs no words.
    """
    here = {(marks.slug, one) for marks in lessons for record in marks.records for one in record.known_as}
    gone: dict[str, list[str]] = {}
    for (slug, who), record in sorted(earlier.items(), key=lambda one: one[0]):
        if (slug, who) not in here and not record.missing:
            gone.setdefault(slug, []).append(f"{record.student} ({record.id})" if record.id else record.student)
    return [f"{slug}: taken out, since the files are not there any more: {listed(who)}" for slug, who in gone.items()]
