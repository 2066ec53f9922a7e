"""All tables of this folder, one after the other."""

from benchmarks.grading import fuzz, hostile, kills, speed

for one in (speed, hostile, kills, fuzz):
    one.main()
