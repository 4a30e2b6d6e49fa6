"""What several sections speak of: sections as such, variants, schedules and networks."""
