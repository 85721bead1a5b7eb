-- The SQL proxy: what its own role may ask, the views of its keys, and the grants of the roles behind the keys.
-- callmeback: statement_timeout 5min, because each scope of keys takes 30 ms and there may be hundreds

GRANT EXECUTE ON FUNCTION proxy_version, proxy_keys, proxy_statements, learn_statement TO callmeback_proxy;

SELECT make_key_views();
REVOKE ALL ON ALL TABLES IN SCHEMA masked, clear FROM PUBLIC;

-- From nothing, as a table may have gained or lost the column that tells whose a row is.
SELECT grant_scopes(true);
