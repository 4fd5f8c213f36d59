"""Morphing: images between two ends, X and Y. A method is a class in a file of its own; all are a `Morph`.

Imports no torch, for the command line is in here too.
"""
