"""A trained classifier, from image to probabilities."""
