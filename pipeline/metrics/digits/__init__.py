"""The network `digits`: a digits_cnn that classifies the 40 pairs of digit and domain of the digits."""
