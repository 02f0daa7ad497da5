"""Reports for people: values in, text out. Nothing here executes a notebook or reads a file of a submission."""
