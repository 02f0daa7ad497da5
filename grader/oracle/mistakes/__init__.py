"""What each known mistake would have answered: only a mistake that explains every answer is named to a student."""
