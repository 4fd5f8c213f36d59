"""The digits benchmark, which this project builds from installed packages."""
