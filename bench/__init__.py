"""What grading costs, measured beside what people would use instead: `python -m bench`, or `make bench`."""
