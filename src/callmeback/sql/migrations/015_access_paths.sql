-- Indexes for what is asked of everybody's rows, however many there are.

-- No release made purchases or personas of people before this file, so their locks are short.
-- squawk-ignore-file require-concurrent-index-creation

-- Adopted purchases are a part of every report of revenue.
CREATE INDEX idx_purchases_completed ON purchases (completed_at) WHERE status = 'completed';
-- A person's catalogue is the house's personas and the own ones; those of others are passed over.
CREATE INDEX idx_personas_house ON personas (created_at) WHERE owner_user_id IS NULL;
