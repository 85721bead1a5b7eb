-- name: sweep
-- Removes expired tokens, counters and idempotency keys; answers how many.
SELECT sweep_expired(%(limit)s);

-- name: erase_again
-- Empties people once more who were erased some minutes ago; answers how many, one at most.
SELECT erase_again();

-- name: make_partitions
-- Makes the partitions of the months to come; answers how many.
SELECT ensure_partitions();

-- name: drop_partitions
-- Drops months of cost events past their time; answers how many.
SELECT drop_old_partitions();
