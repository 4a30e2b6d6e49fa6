"""Images, networks and learning: records in, records out."""
