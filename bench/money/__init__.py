"""A whole call against pgbench's TPC-B and against the specification's own unsafe statements."""
