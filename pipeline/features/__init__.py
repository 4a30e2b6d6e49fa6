"""Frozen backbone to feature rows."""
