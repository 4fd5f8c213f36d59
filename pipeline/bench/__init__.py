"""Measurements of speed and of made images: one module per `bench` command."""
