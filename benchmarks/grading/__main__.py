"""All tables of this folder, one after the other."""

from benchmarks.grading import fuzz, honest, hostile, kills, speed

for one in (speed, hostile, honest, kills, fuzz):
    one.main()
