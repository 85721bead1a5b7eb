"""Money coming in: what is asked of the payment provider around our own commits, and what it tells us."""
