"""What teachers use to make the assignment: the template from the reference solution, and the kit for students."""
