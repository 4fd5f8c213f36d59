"""What a training achieved, and how good made images are."""
