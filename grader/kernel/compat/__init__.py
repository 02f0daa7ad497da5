"""What notebooks from other places take for granted and a sandbox lacks."""
