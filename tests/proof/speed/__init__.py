"""What grading costs, measured beside what people would use instead: `python -m tests.proof.speed`, or `make bench`."""
