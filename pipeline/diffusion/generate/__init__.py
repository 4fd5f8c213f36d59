"""Stage two: make images with a fine-tuned model, and the command `analogy`."""
