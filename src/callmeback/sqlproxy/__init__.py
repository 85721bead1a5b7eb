"""The SQL proxy: PostgreSQL over HTTP for clients without a socket, with a key's grants and no more."""
