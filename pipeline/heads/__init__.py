"""Heads over features."""
