"""What everything else stands on: the store, jobs, errors, seeds, and what the machine has."""
