"""The only code that shares a process with the student.

What runs here is a witness, not a judge: it knows how to elicit behaviour and write it down, and holds no expected
value, no hidden label and no test. It imports nothing of the grader but itself, and nothing at all that a student's
machine does not have. Everything that it writes is JSON or safetensors, and is believed by nobody until validated.
"""
