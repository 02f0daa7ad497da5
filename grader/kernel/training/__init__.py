"""Watches trainings, and puts them under the budget."""
