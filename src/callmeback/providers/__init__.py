"""The outside world, one module a vendor: each speaks its vendor's own wire and knows nothing of calls, credits or
users."""
