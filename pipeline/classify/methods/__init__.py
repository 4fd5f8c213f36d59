"""Classifier methods, one file each. `pipeline.classify.registry` finds them; `Method` says how to add one.

adversarial.py and tllib.py hold what several methods share.
"""
