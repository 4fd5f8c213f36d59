"""Scores of images without labels: how near two sets are (FID, KID), and how smooth a sequence is (PPL)."""
