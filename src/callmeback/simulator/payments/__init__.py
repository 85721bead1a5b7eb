"""The simulated payments vendor, on Stripe's wire: its REST interface, its hosted pages, its signed webhooks, and a
clock of its own that tests can move."""
