"""Runs the command line: `./autograder`, or `python -m grader` in this folder."""

from grader.cli.app import main

if __name__ == "__main__":
    main()
