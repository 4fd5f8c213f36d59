"""Settings of the morphs of tests."""

from pipeline.config import MorphSettings

FAST = MorphSettings(tune_steps=3, batch_size=1, learning_rate=2e-3, rank=2, steps=8, at_a_time=8)
"""Little tuning: what is tested holds for any weights, and these are not those of the base model."""
