"""One training: its images, batches, loop, optimiser, and ways of averaging or flattening."""
