"""Similar code in a class: hints for a human to look at, never a verdict and never points. Executes nothing."""

from grader.similarity.comparison import THRESHOLD, Cluster, Pair, Passage, Similarity, cluster_papers, compare
from grader.similarity.paper import Paper, make_paper, read_template_code

__all__ = [
    "THRESHOLD",
    "Cluster",
    "Pair",
    "Paper",
    "Passage",
    "Similarity",
    "cluster_papers",
    "compare",
    "make_paper",
    "read_template_code",
]
