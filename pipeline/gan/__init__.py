"""Generators and their samples."""
