-- Which price card the house calls with, so that a key of the SQL proxy can't choose another.

CREATE TABLE card_in_force (
    is_only boolean NOT NULL DEFAULT true CONSTRAINT card_in_force_pkey PRIMARY KEY
    CONSTRAINT card_in_force_one_row CHECK (is_only),
    card text NOT NULL CONSTRAINT card_in_force_card_length CHECK (length(card) BETWEEN 1 AND 500),
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE card_in_force IS 'One row: the set of models that the house calls with since its last start.';
COMMENT ON COLUMN card_in_force.is_only IS 'Keeps this table to one row.';
COMMENT ON COLUMN card_in_force.card IS 'As in price_versions.';
COMMENT ON COLUMN card_in_force.since IS 'When the house began to call with it.';
