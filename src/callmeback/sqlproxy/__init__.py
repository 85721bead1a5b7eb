"""SQL over HTTP: standard clients reach the database with a key, through a parsed policy and a role of least grants.

An entrance like `web` and `worker`. `http.py` and `socket.py` take requests, `gate.py` and `policy.py` decide what may
run, `pools.py` and `link.py` run it, `shapes.py` and `values.py` turn rows into JSON. What a key may do is said by
PostgreSQL's grants to its role.
"""
