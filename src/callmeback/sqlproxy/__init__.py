"""The SQL proxy: PostgreSQL over HTTP and WebSocket for callers without a socket of their own, one key each."""
