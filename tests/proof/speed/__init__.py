"""The cost of grading measured beside what people would use instead: `python -m tests.proof.speed`, or `make bench`."""
