"""Call Me Back: a persona calls you, and every second and token of it is accounted for."""
