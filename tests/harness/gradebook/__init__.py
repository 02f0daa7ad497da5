"""Grades out: each format against an implementation of its reader's rules."""
