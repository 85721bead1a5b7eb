-- Warnings of a budget are leased to one worker at a time until they were told.

ALTER TABLE budget_notices ADD COLUMN claimed_until timestamptz;
COMMENT ON COLUMN budget_notices.told_at IS 'When the person had been told; NULL while that is still to be done.';
COMMENT ON COLUMN budget_notices.claimed_until IS 'A worker is telling it; past this it died on the way, and another one sees what of it was sent.';
