"""Every table, column and query that the specification names, against our schema and a known history.

What is about money stands in `test_specification_money.py`.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from psycopg import errors as postgres
from tests.schema import history, specification
from tests.schema.conftest import ask
from tests.schema.history import CALLS, Connection


def columns(connection: Connection, name: str) -> set[str]:
    return {
        row["column_name"]
        for row in ask(
            connection,
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1",
            name,
        )
    }


# Sections 3 to 9: names


@pytest.mark.parametrize("name", [*specification.TABLES, *specification.VIEWS])
def test_every_table_of_the_specification_has_its_columns(books: Connection, name: str):
    wanted = (specification.TABLES | specification.VIEWS)[name]

    assert [column for column in wanted if column not in columns(books, name)] == []


def test_only_the_log_of_calls_is_a_view(books: Connection):
    kinds = {
        row["relname"]: row["relkind"]
        for row in ask(
            books,
            "SELECT relname, relkind::text FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')",
        )
    }

    assert {name: kinds[name] for name in specification.VIEWS} == {"call_logs": "v"}
    assert {kinds[name] for name in specification.TABLES} == {"r", "p"}


# Quick reference and section 4


def test_active_personas_are_found_with_their_cards(books: Connection, now: datetime):
    everything = ask(books, specification.ACTIVE_PERSONAS)
    cards = ask(books, specification.PERSONA_CARDS)

    assert {row["id"] for row in everything} == {"brad", "sarah", "alex"}
    assert {row["id"]: row["category"] for row in cards} == {"brad": "friend", "sarah": "listener", "alex": "coach"}
    assert all(row["description"] for row in cards)
    assert all(row["is_active"] and row["is_system_persona"] and row["core_system_prompt"] for row in everything)


def test_a_retired_persona_is_not_among_them(books: Connection):
    ask(books, "UPDATE personas SET is_active = false WHERE id = 'alex'")

    assert {row["id"] for row in ask(books, specification.PERSONA_CARDS)} == {"brad", "sarah"}


def test_a_persona_is_inserted_with_the_specification_s_columns_and_voice(books: Connection):
    ask(books, "INSERT INTO personas (id, name, core_system_prompt) VALUES ('zoe', 'Zoe', 'You are Zoe.')")
    [voice] = ask(books, specification.PERSONA_VOICE.replace("brad", "zoe"))
    [brad] = ask(books, specification.PERSONA_VOICE)

    assert voice["default_voice_settings"] == {"stability": 0.5, "similarity_boost": 0.75, "speed": 1.0, "style": 0.0}
    assert set(brad["default_voice_settings"]) == set(voice["default_voice_settings"])
    assert brad["default_voice_id"]


def test_favorites_come_with_what_the_person_made_of_them(books: Connection, now: datetime):
    described = ask(books, specification.FAVORITES_WITH_SETTINGS)
    pattern = ask(books, specification.PATTERN_FAVORITES, "user_123")

    assert [row["id"] for row in described] == [row["id"] for row in pattern] == ["sarah", "brad"]
    assert {row["relationship_type"] for row in described} == {"coach"}
    assert [row["total_calls"] for row in described] == [1, 1]


def test_a_second_relationship_with_one_persona_is_refused(books: Connection, now: datetime):
    with pytest.raises(postgres.UniqueViolation):
        ask(
            books,
            "INSERT INTO user_persona_relationships (id, user_id, persona_id) VALUES ('rel_2', 'user_123', 'brad')",
        )


# Section 5


def test_a_user_is_inserted_and_found_by_email(books: Connection):
    ask(
        books,
        "INSERT INTO users (id, email, password_hash, name, phone, stripe_customer_id)"
        " VALUES ('user_1', 'user@example.com', 'hash', 'Ann', '+15551234567', 'cus_1')",
    )
    [user] = ask(books, specification.USER_BY_EMAIL, "user@example.com")

    assert (user["id"], user["name"], user["phone"], user["password_hash"]) == ("user_1", "Ann", "+15551234567", "hash")
    assert user["created_at"] is not None


def test_a_token_is_revoked_looked_up_and_cleaned_up(books: Connection, now: datetime):
    ask(books, specification.REVOKE_TOKEN)
    [kept] = ask(books, "SELECT expires_at FROM token_blacklist")
    expired = ask(books, specification.IS_REVOKED)
    ask(books, "UPDATE token_blacklist SET expires_at = now() + interval '1 day'")
    live = ask(books, specification.IS_REVOKED)
    ask(books, specification.CLEAN_UP_TOKENS)
    [left] = ask(books, "SELECT count(*) AS n FROM token_blacklist")
    ask(books, "UPDATE token_blacklist SET expires_at = now() - interval '1 second'")
    ask(books, specification.CLEAN_UP_TOKENS)
    [gone] = ask(books, "SELECT count(*) AS n FROM token_blacklist")

    assert kept["expires_at"].isoformat() == "2025-11-28T12:00:00+00:00"
    assert (len(expired), len(live), left["n"], gone["n"]) == (0, 1, 1, 0)


# Section 7


def test_a_call_lives_through_the_specification_s_statements(books: Connection, now: datetime):
    ask(books, specification.CREATE_CALL)
    [created] = ask(books, "SELECT * FROM calls WHERE id = 'call_12345'")
    ask(books, specification.CALL_IS_DIALLED)
    ask(books, specification.CALL_HAS_ENDED)
    [ended] = ask(books, "SELECT * FROM calls WHERE id = 'call_12345'")

    assert (created["status"], created["estimated_cost_cents"], created["hold_open"]) == ("initiating", 500, False)
    assert (ended["status"], ended["twilio_call_sid"]) == ("completed", "CA1234567890abcdef")
    assert (ended["duration_seconds"], ended["credits_used"], ended["actual_cost_cents"]) == (300, 5, 487)


@pytest.mark.parametrize("query", ["CALL_HISTORY", "RECENT_CALLS", "PATTERN_HISTORY"])
def test_the_history_of_calls_is_newest_first(books: Connection, now: datetime, query: str):
    sql = getattr(specification, query)
    rows = ask(books, sql, *(["user_123"] if "$1" in sql else []))
    known = history.of("user_123", since=now - timedelta(days=999), now=now)

    assert [row["id"] for row in rows] == [call.id for call in known]
    assert [(row["duration_seconds"], row["credits_used"]) for row in rows] == [(c.seconds, c.credits) for c in known]
    if "persona_name" in sql:
        assert [row["persona_name"] for row in rows] == [call.persona_id.title() for call in known]


def test_c10_one_list_of_states_spells_them(books: Connection, now: datetime):
    spelled = ("initiating calling connected in_progress completed failed no_answer busy canceled").split()
    for status in spelled:
        ask(books, "UPDATE calls SET status = $1 WHERE id = 'call_3'", status)
        [log] = ask(books, "SELECT status FROM call_logs WHERE id = 'call_3'")
        assert log["status"] == status
    for status in ("initiated", "cancelled", "no-answer", "ringing", "Completed", ""):
        with pytest.raises(postgres.CheckViolation, match="call_status_known"), books.transaction():
            ask(books, "UPDATE calls SET status = $1 WHERE id = 'call_3'", status)
    for status in ("scheduled", "executing", "executed", "failed", "canceled", "missed"):
        _schedule(books, f"sch_{status}", now, status)
    with pytest.raises(postgres.CheckViolation, match="scheduled_calls_status"):
        _schedule(books, "sch_1", now, "cancelled")


def _schedule(books: Connection, schedule_id: str, at: datetime | str, status: str = "scheduled") -> None:
    ask(
        books,
        "INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time, status)"
        " VALUES ($1, 'user_123', 'brad', '+15551234567', $2::text::timestamptz, $3)",
        schedule_id, str(at), status,
    )  # fmt: skip


@pytest.mark.parametrize("query", ["DUE_CALLS", "PATTERN_DUE", "SCHEDULED_NOW"])
def test_due_calls_are_found_earliest_first(books: Connection, now: datetime, query: str):
    _schedule(books, "sch_late", now - timedelta(minutes=1))
    _schedule(books, "sch_later", now)
    _schedule(books, "sch_first", now - timedelta(hours=1))
    _schedule(books, "sch_future", now + timedelta(seconds=1))
    _schedule(books, "sch_done", now - timedelta(hours=2), "executed")
    found = [row["id"] for row in ask(books, getattr(specification, query))]

    assert sorted(found) == ["sch_first", "sch_late", "sch_later"]
    if query != "SCHEDULED_NOW":
        assert found == ["sch_first", "sch_late", "sch_later"]


def test_c07_an_offset_is_kept_whatever_the_session_s_zone(books: Connection, now: datetime):
    _schedule(books, "sch_1", "2026-06-01T10:00:00-05:00")
    ask(books, "SET LOCAL TimeZone = 'Asia/Kolkata'")
    _schedule(books, "sch_2", "2026-06-01T20:30:00")
    ask(books, "SET LOCAL TimeZone = 'UTC'")
    rows = ask(books, "SELECT scheduled_time FROM scheduled_calls ORDER BY id")
    zoneless = ask(
        books,
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'timestamp without time zone'",
    )

    assert {row["scheduled_time"].isoformat() for row in rows} == {"2026-06-01T15:00:00+00:00"}
    assert zoneless == []


def test_d12_the_log_of_calls_answers_from_what_was_measured(books: Connection, now: datetime):
    [figures] = ask(books, specification.CALL_ANALYTICS)
    known = history.of("user_123", since=now - timedelta(days=30), now=now)
    # A failed call has no figures of its own; the log's are 0 by the specification's defaults.
    costs = [call.costs.total for call in known if call.costs is not None]
    latencies = [call.latency_ms for call in known if call.latency_ms is not None]

    assert figures["total_calls"] == len(known) == 4
    assert figures["avg_duration"] == Decimal(sum(call.seconds or 0 for call in known)) / 4
    assert figures["total_cost_cents"] == sum(costs)
    assert figures["avg_turns"] == Decimal(sum(call.turns or 0 for call in known)) / 4
    assert figures["avg_latency_ms"] == Decimal(sum(latencies)) / len(latencies)


def test_d12_a_log_of_calls_has_each_leg_of_the_cost(books: Connection, now: datetime):
    rows = {row["id"]: row for row in ask(books, "SELECT * FROM call_logs")}
    log = rows["call_67890"]

    assert set(rows) == {call.id for call in CALLS}
    assert (log["cost_twilio"], log["cost_stt"], log["cost_llm"], log["cost_tts"], log["cost_total"]) == (
        Decimal("6.50"), Decimal("2.15"), Decimal("0.02"), Decimal("4.50"), Decimal("13.17"),
    )  # fmt: skip
    assert (rows["call_3"]["cost_total"], rows["call_3"]["duration_seconds"]) == (0, 0)
    assert log["started_at"] == now


def test_five_scenarios_are_there_for_everybody(books: Connection):
    presets = ask(books, "SELECT * FROM call_scenario_templates ORDER BY id")

    assert [row["id"] for row in presets] == [
        "scn_bad_date", "scn_boss_emergency", "scn_family_health", "scn_party_planning", "scn_travel_plans",
    ]  # fmt: skip
    assert all(row["user_id"] is None and row["name"] and row["scenario_text"] and row["icon"] for row in presets)


# Section 9


def test_the_preferences_of_section_9_have_their_defaults_and_index(books: Connection, now: datetime):
    ask(books, "INSERT INTO user_preferences (user_id) VALUES ('user_123')")
    [row] = ask(books, "SELECT * FROM user_preferences")
    [index] = ask(books, "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_user_preferences_email'")

    assert (row["email_notifications"], row["sms_notifications"], row["call_reminder_minutes"]) == (True, False, 5)
    assert index["indexdef"].endswith("WHERE email_notifications")


def test_applied_migrations_are_listed_in_order(books: Connection):
    versions = [row["version"] for row in ask(books, specification.MIGRATIONS)]

    assert versions == list(range(1, len(versions) + 1))
    assert len(versions) >= 8


# Section 10: what is not asked above


def test_calls_of_today_are_counted(books: Connection, now: datetime):
    [ann] = ask(books, specification.PATTERN_CALLS_TODAY, "user_123")
    [volume] = ask(books, specification.TODAYS_VOLUME)

    assert ann["calls_today"] == 1
    assert (volume["total_calls"], volume["completed"], volume["failed"]) == (2, 2, 0)
    assert volume["avg_duration"] == Decimal("180.5")


# Section 13


def test_personas_are_ranked_by_completed_calls(books: Connection, now: datetime):
    ranked = ask(books, specification.TOP_PERSONAS)

    assert [(row["name"], row["call_count"], row["total_duration"]) for row in ranked[:1]] == [("Brad", 2, 361)]
    assert {(row["name"], row["call_count"], row["total_duration"]) for row in ranked} == {
        ("Brad", 2, 361), ("Sarah", 1, 90), ("Alex", 1, 600),
    }  # fmt: skip


def test_the_dearest_calls_come_first(books: Connection, now: datetime):
    rows = ask(books, specification.DEAREST_CALLS)

    assert [row["id"] for row in rows] == ["call_67890", "call_2", "call_6", "call_7"]
    assert rows[0]["total_cost_cents"] == Decimal("13.17")
    assert rows[0]["persona_name"] == "Brad"


# Sections 11 and 14


def test_the_server_s_own_figures_can_be_asked(books: Connection):
    [connections] = ask(books, specification.CONNECTIONS)
    [active] = ask(books, specification.ACTIVE_CONNECTIONS)
    [most] = ask(books, specification.MAX_CONNECTIONS)
    [slow] = ask(books, "SHOW log_min_duration_statement")

    assert connections["count"] >= active["count"] >= 1
    assert int(most["max_connections"]) >= 100
    # On from the start; no ALTER DATABASE is needed.
    assert slow["log_min_duration_statement"] == "1s"
    assert {"pid", "usename", "state"} <= {key for row in ask(books, specification.IDLE_CONNECTIONS) for key in row}
    # Only planned: ended connections would be those of other tests.
    assert ask(books, f"EXPLAIN {specification.END_IDLE_CONNECTIONS}")
    ask(books, "ANALYZE calls")
    ask(books, specification.MISSING_INDEXES)


def test_d03_a_call_of_nobody_fails_as_the_troubleshooting_shows(books: Connection):
    with pytest.raises(postgres.ForeignKeyViolation) as caught, books.transaction():
        ask(books, specification.CALL_OF_NOBODY)

    assert caught.value.diag.constraint_name == "calls_user_fkey"
    assert caught.value.diag.message_detail == 'Key (user_id)=(user_999) is not present in table "users".'
    assert ask(books, specification.DOES_USER_EXIST) == []
    assert ask(books, specification.DOES_PERSONA_EXIST) == [{"id": "brad"}]
