"""The ways to isolate a kernel."""
