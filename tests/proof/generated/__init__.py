"""Proof by programs and mistakes that nobody wrote by hand: they come from seeds, and each can be made again."""
