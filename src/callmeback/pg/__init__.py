"""PostgreSQL: connections, statements, rows, errors, roles, migrations and the embedded server.

Only this package and `sqlproxy/` import psycopg. No business rule lives here.
"""
