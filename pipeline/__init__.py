"""Terra-bench: domain adaptation by generated images, from fine-tuning to tables."""

__version__ = "0.1.0"
