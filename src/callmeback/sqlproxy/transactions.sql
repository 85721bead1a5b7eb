-- What a transaction of the proxy consists of beside a client's statements, as the key's role.

-- name: begin
-- Opens a batch's or a stream's transaction, with the role's defaults.
BEGIN;

-- name: commit
-- Keeps what a batch did.
COMMIT;

-- name: rollback
-- Drops what a failed batch did.
ROLLBACK;

-- name: read_uncommitted
-- Isolation of a batch: PostgreSQL treats it as read committed.
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; -- noqa: PRS, the linter doesn't know it;

-- name: read_committed
-- Isolation of a batch: each statement sees what was committed before it.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;

-- name: repeatable_read
-- Isolation of a batch: all statements see the same moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: serializable
-- Isolation of a batch: as if batches ran one after another.
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;

-- name: read_only
-- A batch that changes nothing.
SET TRANSACTION READ ONLY;

-- name: deferrable
-- A serializable, read-only batch waits for a moment in which it can't fail.
SET TRANSACTION DEFERRABLE;

-- name: no_statement_timeout
-- A stream lasts as long as its reader keeps up, which the proxy watches itself.
SET LOCAL statement_timeout = 0;
