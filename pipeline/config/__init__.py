"""One validated section of params.yaml per module."""
