"""Comparisons with reference implementations: numbers that they gave, or the libraries themselves."""
