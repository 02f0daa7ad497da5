"""The makers of the assignment: the template from the reference solution, the kit for students, the thresholds."""
