"""Datasets of files: fetched or imported from disk, and listed in an inventory."""
