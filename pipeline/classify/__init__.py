"""Stage three: train classifiers on source and made images, and evaluate them on the target."""
