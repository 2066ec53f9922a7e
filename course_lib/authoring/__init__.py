"""What authors and instructors use and a student never receives: from text sources to notebooks, tables and editions.

places       where the files of a lesson lie
sources      the text sources: cells, headers, points
closure      which files a result follows from, and their hash
execution    running a notebook so that its outputs are the same everywhere
address      badge, set-up cell and feedback link, which name where the course lives
sliders      where the sprites lie that the website's sliders move, and
sprites      how the kernel draws them
builder      sources become notebooks, one way
templates    a new lesson, laid out to be filled in
lint         what every lesson must have
tables       the generated parts of README.md
release      the student edition, with student_cli as its `course` command
train_vit    how data/vit.npz was made
fold_trunk   how data/trunk.npz was made
"""
