"""Looks at this machine: what it has, and whether that is enough to grade."""
