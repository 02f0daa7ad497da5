"""A student's hour in a live JupyterLab: typical mistakes one after the other, each checked, read and put right.

    python -m tests.proof.student_hour [--only words] [--docs docs]

The folder is the one that the kit's zip gives, with a few short reviews, and the stand-in takes DistilBERT's place, so
nothing needs a network once JupyterLab is installed. It gets an environment of its own, made once, from the kit's lock.
A browser without a window opens the notebook; cells are written, run and read there, in one kernel after the other.

`scenes` is the table: what is done wrong, and which words the check has to find for it. Whether these are kind, only a
reader can say: all outputs are kept beside the pictures, in `results/student-hour`.
Needs Debian's chromium and chromium-driver, and the Python package selenium. Exit code 1: a scene is not as expected.
"""
