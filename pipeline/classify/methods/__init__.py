"""Classifier methods, each one file; pipeline/classify/registry.py finds them."""
