"""Stages one and two: base models, adapters, their fine-tuning, and the images and morphs made with them."""
