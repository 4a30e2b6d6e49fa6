"""Architectures, resizing, adversarial examples."""
