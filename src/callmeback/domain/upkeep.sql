-- name: sweep
-- Removes expired tokens, counters and idempotency keys; answers how many.
SELECT sweep_expired(%(limit)s);

-- name: make_partitions
-- Makes the partitions of the months to come; answers how many.
SELECT ensure_partitions();

-- name: drop_partitions
-- Drops months of cost events past their time; answers how many.
SELECT drop_old_partitions();
