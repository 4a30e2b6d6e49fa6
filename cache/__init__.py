"""How sets of images and features lie on disk."""
