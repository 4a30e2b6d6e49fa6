"""Everything said of a classifier on test."""
