"""A suite becomes a graph of jobs, with an estimate of what they will cost."""
