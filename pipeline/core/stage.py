"""The form of every stage: a function `run(params, inputs, workspace, progress)`.

It depends on its parameters and inputs alone.

A stage writes its product into `workspace`, which survives a crash: when it is run there again, it resumes
and ends with the same bytes. Files that only resuming needs go into `workspace/scratch`. All files are
written by store.write_atomic, and hold no times and no names of machines.
"""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""A function that a stage calls with how much is done, how much there is, and what it is doing."""
