"""Records, tables, figures and pages of finished jobs. Imports no torch."""
