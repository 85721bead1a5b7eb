"""A month of people who pay, and the books at its end."""
