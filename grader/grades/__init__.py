"""Results become grades: late policy, attempts, extensions, and changes that a person made and signed."""
