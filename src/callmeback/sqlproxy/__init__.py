"""SQL over HTTP: standard clients reach the database with a key, through a parsed policy and a role of least grants.

An entrance like `web` and `worker`. `app.py` and `http.py` take requests, `statements.py` decides what may run, `link.py`
and `pools.py` run it, `values.py` turns rows into JSON. What a key may do is said by PostgreSQL's grants to its role.
"""
