"""What every stage is: `run(params, inputs, workspace, progress)`, a function of its parameters and inputs alone.

It writes its product into `workspace`, which survives a crash: run again there, it goes on and ends with the
same bytes. What only resuming needs goes into `workspace/scratch`. Files are written by store.write_atomic,
and hold no times and no names of machines.
"""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with how much is done, how much there is, and what it is."""
