"""Scores of images that need no labels: how near two sets are (FID, KID), and how smooth a sequence is (PPL)."""
