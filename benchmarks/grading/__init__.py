"""What the grader's promises were measured with: ``python -m benchmarks.grading`` writes every table here."""
