"""The payment provider's webhooks: events applied a second, and nothing twice."""
