"""Evidence in, verdicts out: the suite, its runner, the result."""
