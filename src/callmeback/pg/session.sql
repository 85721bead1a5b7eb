-- The frame of every transaction.

-- name: begin
-- Open a transaction.
BEGIN;

-- name: begin_read_only
-- Open a transaction that can't write.
BEGIN READ ONLY;

-- name: begin_snapshot
-- Open a transaction in which every statement sees the same moment.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: take_user
-- Say for whom the transaction runs: the row-level policies read it, and it ends with the transaction.
SELECT set_config('callmeback.user_id', %(user_id)s, TRUE);

-- name: commit
-- Keep what was done.
COMMIT;

-- name: rollback
-- Forget what was done.
ROLLBACK;

-- name: ping
-- Whether the database answers.
SELECT 1;
