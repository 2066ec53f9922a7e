"""The mutants of benchmarks/mutants.py still fit the sources, and one of each room is noticed by its unit test."""

import subprocess
import sys

from benchmarks.mutants import MUTANTS
from benchmarks.mutation import ROOT, source_of

FIRST_OF_ROOM = {file.split("/")[0]: file for file in reversed(MUTANTS)}


def test_every_mutant_changes_its_source_and_leaves_it_python():
    for file, pairs in MUTANTS.items():
        text = source_of(file).read_text()
        for right, wrong in pairs:
            assert right in text, f"{file}: {right!r} is no longer in the source; mend its row"
            assert right != wrong
            compile(text.replace(right, wrong), file, "exec")
    assert sum(map(len, MUTANTS.values())) > 350


def test_a_mutant_of_each_room_is_noticed_and_the_right_source_passes():
    tried = [(file, *MUTANTS[file][0]) for file in FIRST_OF_ROOM.values()]
    right = tried[0][1]
    tried.append((tried[0][0], right, right))
    # in a process of its own: the mutants fork, and this process may have threads
    code = f"from benchmarks.mutation import survives\nfor mutant in {tried!r}: print(survives(*mutant))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False"] * len(FIRST_OF_ROOM) + ["True"], said.stderr
