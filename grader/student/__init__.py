"""For students: the public checks, from inside the notebook.

```python
from grader.student import check, check_file
check("3.3")      # one exercise, by its number in the notebook
check("step3")    # one step
check()           # everything that you have begun
check_file()      # the saved file, from top to bottom as in grading
```

The functions and classes defined so far get the same probes as in grading, and the last training of each step is
examined. Nothing leaves the machine and nothing is changed: models, results, random numbers and files stay as they are.

This module is quick to import. Whatever takes longer is imported when somebody checks.
"""

from grader.student.commands import check, check_file
from grader.student.watch import WATCH

__all__ = ["check", "check_file"]

WATCH.begin()
