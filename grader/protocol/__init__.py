"""What host and kernel agree on. Imports neither side; holds no expected value."""
