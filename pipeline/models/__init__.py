"""Networks for full models, one file each."""
