"""What people read: values in, text out. Nothing here executes a notebook or reads a file of a submission."""
