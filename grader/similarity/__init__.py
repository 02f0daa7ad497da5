"""Similar code in a class: hints for a human to look at, never a verdict and never points. Executes nothing."""

from grader.similarity.comparison import THRESHOLD, Pair, Passage, Similarity, compare
from grader.similarity.paper import Paper, paper_of, template_code

__all__ = ["THRESHOLD", "Pair", "Paper", "Passage", "Similarity", "compare", "paper_of", "template_code"]
