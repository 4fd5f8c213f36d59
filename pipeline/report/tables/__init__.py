"""Tables and statistics that are computed from records, and their file formats."""
