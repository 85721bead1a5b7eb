-- What every later file relies on: the one id type, and functions that nobody may run unless it is granted.

CREATE DOMAIN id AS text COLLATE "C"
CONSTRAINT id_length CHECK (octet_length(VALUE) BETWEEN 1 AND 64);

COMMENT ON DOMAIN id IS
'A readable prefix and a UUIDv7 (TypeID), made in Python; personas of the house keep short names, adopted rows their old ids.';

ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
