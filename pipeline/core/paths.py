"""Where the checkout is."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
"""The checkout, which holds benchmarks/, datasets/ and results/."""
