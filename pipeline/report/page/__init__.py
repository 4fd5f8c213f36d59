"""The page of a results folder: `index.html`, and what it needs to be written again."""
