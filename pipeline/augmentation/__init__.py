"""Policies to pixels, once per image."""
