-- What a call cost, line by line.

-- name: bill
-- Quantities of a call and the prices of its own time, side by side.
-- returns: Bill
SELECT
    c.payment_method,
    v.carrier_model,
    v.listener_model,
    v.brain_model,
    v.fallback_model,
    v.voice_model,
    v.local_model,
    coalesce(b.twilio_duration_seconds, 0) AS carrier_seconds,
    coalesce(b.deepgram_audio_seconds, 0) AS listener_seconds,
    coalesce(b.cerebras_input_tokens, 0) AS brain_input,
    coalesce(b.cerebras_output_tokens, 0) AS brain_output,
    coalesce(b.fallback_input_tokens, 0) AS fallback_input,
    coalesce(b.fallback_output_tokens, 0) AS fallback_output,
    coalesce(b.elevenlabs_characters, 0) AS voice_characters,
    coalesce(b.local_characters, 0) AS local_characters,
    v.carrier_second_cents,
    v.carrier_second_per,
    v.listener_second_cents,
    v.listener_second_per,
    v.brain_input_cents,
    v.brain_input_per,
    v.brain_output_cents,
    v.brain_output_per,
    v.fallback_input_cents,
    v.fallback_input_per,
    v.fallback_output_cents,
    v.fallback_output_per,
    v.voice_character_cents,
    v.voice_character_per,
    v.local_character_cents,
    v.local_character_per,
    coalesce(b.twilio_cost_cents, 0) AS twilio_cents,
    coalesce(b.deepgram_cost_cents, 0) AS deepgram_cents,
    coalesce(b.cerebras_cost_cents, 0) AS cerebras_cents,
    coalesce(b.elevenlabs_cost_cents, 0) AS elevenlabs_cents
FROM calls AS c
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
LEFT JOIN price_versions AS v ON c.price_version_id = v.id
WHERE c.user_id = %(user_id)s AND c.id = %(call_id)s;

-- name: worst_cents_a_minute
-- The dearest minute on a card of prices, at the rates of now.
SELECT v.worst_case_cents_per_minute
FROM price_versions AS v
WHERE v.card = %(card)s AND v.effective_from <= now()
ORDER BY v.effective_from DESC
LIMIT 1;
