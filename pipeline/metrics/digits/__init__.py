"""The network `digits`: a digits_cnn that tells the 40 combinations of digit and domain of the digits benchmark apart."""
