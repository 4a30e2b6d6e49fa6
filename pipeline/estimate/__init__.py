"""What a run would take, how far it is, and what start chooses."""
