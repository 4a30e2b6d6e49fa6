"""Numbers in, numbers out; knows only cache."""
