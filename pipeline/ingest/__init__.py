"""Folder or archive to sized, split rows."""
