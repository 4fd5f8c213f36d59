"""Dataset cards become images: sources, preparation, validation and loading."""
