"""The files by which the launcher and the processes of one job talk to each other."""

JOB = "job.pickle"
"""Written by the launcher: what the processes are to do. They end when the file is deleted."""

PROGRESS = "progress.jsonl"
"""Written by the first process: a line for each report of its progress."""
