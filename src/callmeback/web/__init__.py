"""The web entrance: the API, webhooks, the media socket and the pages. It imports no other entrance."""
