"""Figures that are drawn from records and artifacts."""
