-- What a batch with an Idempotency-Key asks beside its own statements, as the key's role.

-- name: claim
-- The first answer under this key, or nothing for the first request; waits for one that is under way.
SELECT public.claim_answer(%(key_id)s, %(idempotency_key)s, %(request_hash)s);

-- name: keep
-- Keeps the answer, in the batch's own transaction.
SELECT public.keep_answer(%(key_id)s, %(idempotency_key)s, %(answer)s);
