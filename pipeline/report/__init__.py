"""From records and artifacts to tables and pictures, in seconds and without torch."""
