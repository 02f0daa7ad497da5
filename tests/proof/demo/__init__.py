"""A made-up class: how grading a class looks, with everything that goes wrong in one."""
