"""Stage one: the fine-tuning of adapters."""
