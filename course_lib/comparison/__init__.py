"""Every mechanism on the same five tasks with the same budget (lesson 19).

tasks         five small tasks, each with a network that leaves one slot free
slot          a mechanism of the catalogue made to fit into the slot, or the reason why it does not
construction  how many numbers cross a slot, whatever it learns
stored        the scores and costs that ``python -m benchmarks.tasks`` measured
"""
