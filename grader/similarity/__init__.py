"""Similar code in a class: hints for a human to look at, never a verdict and never points. Executes nothing."""

from grader.similarity.comparison import THRESHOLD, Pair, Passage, Similarity, compare
from grader.similarity.paper import Paper, make_paper, read_template_code

__all__ = ["THRESHOLD", "Pair", "Paper", "Passage", "Similarity", "compare", "make_paper", "read_template_code"]
