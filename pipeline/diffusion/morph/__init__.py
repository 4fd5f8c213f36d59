"""Morphing: frames between two endpoints, X and Y. Each method is a subclass of `Morph` in its own file."""
