"""Grades and feedback as Canvas, Gradescope and programs for analysis read them."""
