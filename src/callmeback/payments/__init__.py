"""Money coming in: what is asked of the payments vendor around our own commits, and what it tells us."""
