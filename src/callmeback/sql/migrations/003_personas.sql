-- Who calls: personas, what a person made of them, and scenarios to choose from.

CREATE DOMAIN relationship_type AS text CONSTRAINT relationship_type_length CHECK (length(VALUE) BETWEEN 1 AND 100);
CREATE DOMAIN custom_prompt AS text CONSTRAINT custom_prompt_length CHECK (length(VALUE) <= 4000);
CREATE DOMAIN voice_settings AS jsonb CONSTRAINT voice_settings_object CHECK (jsonb_typeof(VALUE) = 'object');

CREATE TABLE personas (
    id id CONSTRAINT personas_pkey PRIMARY KEY,
    owner_user_id id CONSTRAINT personas_owner_fkey REFERENCES users (id) ON DELETE CASCADE,
    name text NOT NULL CONSTRAINT personas_name_length CHECK (length(name) BETWEEN 1 AND 100),
    description text CONSTRAINT personas_description_length CHECK (length(description) <= 1000),
    core_system_prompt text NOT NULL
    CONSTRAINT personas_prompt_length CHECK (length(core_system_prompt) BETWEEN 1 AND 8000),
    default_voice_id text,
    default_voice_settings voice_settings NOT NULL
    DEFAULT '{"stability": 0.5, "similarity_boost": 0.75, "speed": 1.0, "style": 0.0}',
    avatar_url text,
    category text,
    llm_model text,
    max_tokens integer NOT NULL DEFAULT 150 CONSTRAINT personas_max_tokens CHECK (max_tokens BETWEEN 16 AND 1000),
    temperature numeric(3, 2) NOT NULL DEFAULT 0.7
    CONSTRAINT personas_temperature CHECK (temperature BETWEEN 0 AND 2),
    max_call_duration_seconds integer
    CONSTRAINT personas_max_call_duration CHECK (max_call_duration_seconds BETWEEN 60 AND 14400),
    phone_number text CONSTRAINT personas_phone_e164 CHECK (phone_number ~ '^\+[1-9][0-9]{6,14}$'),
    is_active boolean NOT NULL DEFAULT true,
    is_system_persona boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT personas_system_or_owned CHECK (NOT is_system_persona OR owner_user_id IS NULL)
);
CREATE INDEX idx_personas_category_active ON personas (category, created_at DESC) WHERE is_active;
CREATE INDEX idx_personas_active ON personas (created_at DESC) WHERE is_active;
CREATE INDEX idx_personas_owner ON personas (owner_user_id) WHERE owner_user_id IS NOT NULL;
COMMENT ON TABLE personas IS 'Personalities. One with history is retired (is_active), never deleted.';
COMMENT ON COLUMN personas.owner_user_id IS 'Whose it is; NULL is the house''s and everybody''s.';
COMMENT ON COLUMN personas.core_system_prompt IS 'pii:content. Identity layer of the prompt; never published with the catalogue.';
COMMENT ON COLUMN personas.max_call_duration_seconds IS 'Longest call with this persona; NULL leaves it to the tier.';
COMMENT ON COLUMN personas.phone_number IS 'Caller''s number of this persona, where it has one of its own.';
COMMENT ON COLUMN personas.llm_model IS 'Model of the brain for this persona; NULL is the house''s.';

CREATE TABLE user_persona_relationships (
    id id NOT NULL DEFAULT ('rel_' || replace(gen_random_uuid()::text, '-', '')),
    user_id id NOT NULL CONSTRAINT user_persona_relationships_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    persona_id id NOT NULL
    CONSTRAINT user_persona_relationships_persona_fkey REFERENCES personas (id) ON DELETE CASCADE,
    relationship_type relationship_type NOT NULL DEFAULT 'friend',
    custom_system_prompt custom_prompt,
    voice_id text,
    voice_settings voice_settings,
    total_calls quantity NOT NULL DEFAULT 0,
    total_duration_seconds seconds NOT NULL DEFAULT 0,
    last_call_at timestamptz,
    is_favorite boolean NOT NULL DEFAULT false,
    is_archived boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT user_persona_relationships_pkey PRIMARY KEY (user_id, persona_id)
) WITH (fillfactor = 80);
CREATE INDEX idx_relationships_persona ON user_persona_relationships (persona_id);
CREATE INDEX idx_relationships_favorite ON user_persona_relationships (user_id, persona_id) WHERE is_favorite;
COMMENT ON TABLE user_persona_relationships IS 'What one person made of one persona, and how often they talked.';
COMMENT ON COLUMN user_persona_relationships.custom_system_prompt IS 'pii:content. Relationship layer of the prompt.';
COMMENT ON COLUMN user_persona_relationships.voice_id IS 'NULL inherits the persona''s voice.';
COMMENT ON COLUMN user_persona_relationships.voice_settings IS 'NULL inherits; keys that are there override the persona''s.';
COMMENT ON COLUMN user_persona_relationships.total_calls IS 'Calls that were answered by a person; grows in finish_call''s commit.';

CREATE TABLE call_scenario_templates (
    id id CONSTRAINT call_scenario_templates_pkey PRIMARY KEY,
    user_id id CONSTRAINT call_scenario_templates_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    name text NOT NULL CONSTRAINT call_scenario_templates_name_length CHECK (length(name) BETWEEN 1 AND 100),
    scenario_text text NOT NULL
    CONSTRAINT call_scenario_templates_text_length CHECK (length(scenario_text) BETWEEN 1 AND 2000),
    icon text CONSTRAINT call_scenario_templates_icon_length CHECK (length(icon) <= 16),
    use_count integer NOT NULL DEFAULT 0 CONSTRAINT call_scenario_templates_use_count CHECK (use_count >= 0),
    last_used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_call_scenario_templates_user ON call_scenario_templates (user_id);
COMMENT ON TABLE call_scenario_templates IS 'Situations for a call; those without a user are presets for everybody.';
COMMENT ON COLUMN call_scenario_templates.scenario_text IS 'pii:content. Context layer of the prompt.';
COMMENT ON COLUMN call_scenario_templates.icon IS 'An emoji.';
