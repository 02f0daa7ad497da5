"""Fresh machines, made on the spot: do the README's commands do what they say, or say what is missing?

`make fresh` makes bare Debian roots (debootstrap), copies the project into them, and gives the README's commands under
the conditions of the table in tries.py: as root and as an ordinary user, in every sandbox, under strange umasks, limits
and paths, with what a container allows. A try is right when the reference gets all its points, or when one sentence
and exit code 2 say what is missing. It is wrong when points are lost with exit code 0, or when a traceback is shown.

Standard library only: it runs before anything is installed. Needs root, debootstrap and a registry of packages.
"""
