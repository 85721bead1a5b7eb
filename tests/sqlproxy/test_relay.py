"""A session's conversation, byte by byte and without a server: order, replacement, limits, and any bytes at all."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback.sqlproxy import frames, relay
from callmeback.sqlproxy.frames import Fields, Reader
from callmeback.sqlproxy.relay import POISON, POISON_QUERY, Limits, Relay, Ruling, refusal

DENIED = refusal("42501", "not this")


class Gate:
    """Refuses what begins with `no`, rewrites what begins with `re`, takes `drop NAME` for a DEALLOCATE, and runs out
    of executions."""

    def __init__(self, executions: int = 1_000_000) -> None:
        self.executions = executions

    def judge(self, text: bytes) -> Ruling:
        return Ruling(
            text.replace(b"re", b"public.re", 1),
            text.decode(errors="replace"),
            refusal=DENIED if text.startswith(b"no") else None,
            shift=(7,) if text.startswith(b"re") else (),
            drops=text[5:] if text.startswith(b"drop ") else None,
        )

    def spend(self) -> Fields | None:
        self.executions -= 1
        return refusal("53400", "too many") if self.executions < 0 else None

    def tell(self, ruling: Ruling | None, fields: Fields) -> Fields:
        if ruling is None or not ruling.shift or "P" not in fields:
            return fields

        return {**fields, "P": str(int(fields["P"]) - ruling.shift[0])}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def session(gate: Gate | None = None, limits: Limits | None = None, clock: Clock | None = None) -> Relay:
    return Relay(gate or Gate(), limits or Limits(), clock or Clock())


def messages(stream: bytes, kinds: frozenset[int] = frames.SERVER_KINDS) -> list[tuple[str, bytes]]:
    reader = Reader(kinds, 1 << 24)
    reader.feed(stream)
    found = []
    while (message := reader.message()) is not None:
        found.append((chr(message.kind), message.payload))

    return found


def kinds(stream: bytes) -> str:
    return "".join(kind for kind, _ in messages(stream))


def code(stream: bytes) -> str:
    """The SQLSTATE of the one error in a stream."""
    (fields,) = [frames.read_fields(payload) for kind, payload in messages(stream) if kind == "E"]

    return fields["C"]


def extended(text: bytes, name: bytes = b"") -> bytes:
    return frames.parse(name, text) + frames.bind(b"", name) + frames.describe(b"P", b"") + frames.execute(b"")


ERROR = frames.error({"S": "ERROR", "V": "ERROR", "C": "42601", "M": "syntax error", "P": "20"})
ROW = frames.message(b"D", b"\0\1\0\0\0\1x")
DONE = frames.message(b"C", b"SELECT 1\0")
PARSED, BOUND, CLOSED = frames.message(b"1"), frames.message(b"2"), frames.message(b"3")
COLUMNS = frames.message(b"T", b"\0\0")
READY, FAILED = frames.ready(b"I"), frames.ready(b"E")


def test_what_is_allowed_passes_both_ways():
    one = session()
    asked = extended(b"select 1") + frames.SYNC

    assert one.from_client(asked) == asked

    answer = PARSED + BOUND + COLUMNS + ROW + DONE + READY

    assert one.from_server(answer) == answer
    assert [(done.rows, done.sqlstate) for done in one.done] == [(1, None)]
    assert not one.is_busy


def test_the_text_that_is_sent_on_is_the_rulings():
    one = session()

    assert one.from_client(frames.query(b"re 1")) == frames.query(b"public.re 1")
    assert one.from_client(frames.parse(b"a", b"re 2", b"\0\1\0\0\0\x17")) == frames.parse(
        b"a", b"public.re 2", b"\0\1\0\0\0\x17"
    )


def test_positions_are_those_of_the_clients_text():
    one = session()
    one.from_client(frames.query(b"re 1"))
    one.from_server(ERROR + READY)
    one.from_client(frames.query(b"select"))
    same = one.from_server(ERROR)

    assert frames.read_fields(same[5:])["P"] == "20"

    other = session()
    other.from_client(frames.query(b"re 1"))

    assert frames.read_fields(other.from_server(ERROR)[5:])["P"] == "13"


def test_a_refused_query_becomes_one_that_fails_and_its_error_ours():
    one = session()

    assert one.from_client(frames.query(b"no")) == POISON_QUERY

    answer = one.from_server(ERROR + FAILED)

    assert frames.read_fields(answer[5:])["M"] == "not this"
    assert answer.endswith(FAILED)
    assert one.done[0].sqlstate == "42501"


def test_a_refused_parse_takes_its_place_among_the_answers():
    one = session()
    sent = one.from_client(extended(b"select 1") + frames.SYNC + extended(b"no") + frames.SYNC)

    assert POISON in sent
    assert b"no\0" not in sent

    answer = one.from_server(PARSED + BOUND + COLUMNS + ROW + DONE + READY + ERROR + READY)

    assert kinds(answer) == "12TDCZEZ"
    assert code(answer) == "42501"


def test_an_error_before_a_refusal_keeps_its_own_words():
    one = session()
    one.from_client(extended(b"select broken") + frames.parse(b"", b"no") + frames.SYNC)

    assert code(one.from_server(ERROR + READY)) == "42601"


def test_after_an_error_everything_up_to_sync_is_passed_over():
    one = session()
    one.from_client(frames.parse(b"", b"no") + frames.FLUSH)
    one.from_server(ERROR)

    assert one.from_client(extended(b"select 1") + frames.query(b"select 2")) == b""
    assert not one.is_busy
    assert one.from_client(frames.SYNC) == frames.SYNC
    assert one.from_server(READY) == READY


def test_a_query_that_the_server_passed_over_is_not_waited_for():
    one = session()
    one.from_client(extended(b"select broken") + frames.query(b"select 2") + frames.SYNC)

    assert kinds(one.from_server(ERROR + READY)) == "EZ"
    assert not one.is_busy


@pytest.mark.parametrize("kind", [b"d", b"c", b"f", b"p"])
def test_copy_and_passwords_have_no_place_in_a_session(kind: bytes):
    one = session()

    assert one.from_client(frames.message(kind, b"x")) == b""
    assert one.over is not None
    assert one.over["C"] == "08P01"


def test_function_calls_are_refused():
    one = session()

    assert one.from_client(frames.message(b"F", b"\0\0\0\1")) == POISON_QUERY
    assert code(one.from_server(ERROR + READY)) == "0A000"


@pytest.mark.parametrize("kind", [b"G", b"H", b"W", b"d", b"c", b"R", b"K", b"V"])
def test_what_the_server_must_not_say_ends_the_session(kind: bytes):
    one = session()
    one.from_client(frames.query(b"select 1"))

    assert one.from_server(frames.message(kind, b"\0\0\0\0\0")) == b""
    assert one.over is not None


def test_answers_to_nothing_end_the_session():
    for answer in (ROW, DONE, PARSED, BOUND, CLOSED, COLUMNS, READY):
        one = session()
        one.from_server(answer)

        assert one.over is not None, answer


@pytest.mark.parametrize(("name", "value"), [("client_encoding", "SJIS"), ("standard_conforming_strings", "off")])
def test_a_setting_that_our_reading_relies_on_must_stay(name: str, value: str):
    one = session()
    one.from_client(frames.query(b"select 1"))

    assert one.from_server(frames.setting(name, value)) == b""
    assert one.over is not None
    assert name in one.over["M"]


def test_executions_are_counted_not_only_texts():
    one = session(Gate(executions=2))
    one.from_client(frames.parse(b"a", b"select 1") + frames.SYNC)
    one.from_server(PARSED + READY)
    once = frames.bind(b"", b"a") + frames.execute(b"") + frames.SYNC

    sent = one.from_client(once * 3)

    assert sent.count(POISON) == 1
    assert code(one.from_server((BOUND + DONE + READY) * 2 + BOUND + ERROR + READY)) == "53400"


# Limits


def test_rows_beyond_the_limit_are_cancelled_and_not_passed_on():
    one = session(limits=Limits(rows=2))
    one.from_client(frames.query(b"select"))
    answer = one.from_server(COLUMNS + ROW * 3)

    assert kinds(answer) == "TDD"
    assert one.wants_cancel

    one.wants_cancel = False
    canceled = frames.error({"S": "ERROR", "V": "ERROR", "C": "57014", "M": "canceling statement"})
    rest = one.from_server(ROW * 1_000 + canceled + READY)

    assert kinds(rest) == "EZ"
    assert code(rest) == "54000"
    assert not one.wants_cancel


def test_an_answer_too_large_that_ends_before_its_cancellation_ends_the_session():
    one = session(limits=Limits(rows=2))
    one.from_client(frames.query(b"select"))

    assert kinds(one.from_server(COLUMNS + ROW * 3 + DONE + READY)) == "TDD"
    assert one.over is not None
    assert one.over["C"] == "54000"


def test_a_row_larger_than_the_limit_is_never_kept():
    one = session(limits=Limits(bytes=relay.NOTE_BYTES_MAX))
    one.from_client(frames.query(b"select"))
    size = 3 * relay.NOTE_BYTES_MAX
    row = frames.message(b"D", bytes(size))
    one.from_server(COLUMNS)
    for start in range(0, len(row), 1 << 16):
        assert one.from_server(row[start : start + (1 << 16)]) == b""
        assert one._server.buffered <= 1 << 16

    assert one.wants_cancel
    assert one.over is None


def test_a_client_that_waits_for_no_answer_is_made_to_wait():
    one = session()
    one.from_client(frames.SYNC * 5 * relay.PENDING_MAX)
    while one.has_more and not one.is_full:
        one.from_client()
    pending = len(one._pending)

    assert pending == relay.PENDING_MAX
    assert one.from_client() == frames.FLUSH

    one.from_server(READY * 10)

    assert not one.is_full
    one.from_client()
    assert len(one._pending) == relay.PENDING_MAX


def test_prepared_statements_are_bounded():
    one = session()
    for number in range(relay.PREPARED_MAX):
        one.from_client(frames.parse(b"%d" % number, b"select") + frames.SYNC)
        one.from_server(PARSED + READY)

    assert one.from_client(frames.parse(b"more", b"select") + frames.SYNC).startswith(POISON)
    assert code(one.from_server(ERROR + READY)) == "53400"
    # One that the server has forgotten makes room, one that it only passed over doesn't.
    one.from_client(frames.parse(b"x", b"no") + frames.close(b"S", b"1") + frames.SYNC)
    one.from_server(ERROR + READY)
    assert one.from_client(frames.parse(b"more", b"select") + frames.SYNC).startswith(POISON)
    one.from_server(ERROR + READY)
    one.from_client(frames.close(b"S", b"1") + frames.close(b"S", b"unknown") + frames.SYNC)
    one.from_server(CLOSED + CLOSED + READY)
    assert POISON not in one.from_client(frames.parse(b"more", b"select") + frames.SYNC)


def test_deallocated_statements_are_forgotten():
    one = session()
    dropped = frames.message(b"C", b"DEALLOCATE\0")
    one.from_client(b"".join(frames.parse(name, b"select") for name in (b"a", b"b", b"c")) + frames.SYNC)
    one.from_server(PARSED * 3 + READY)
    one.from_client(frames.query(b"drop a") + frames.query(b"drop unknown") + frames.query(b"drop b"))
    one.from_server(dropped + READY + dropped + READY + ERROR + READY)
    assert set(one._prepared) == {b"b", b"c"}
    # What is prepared after one stays, and what failed after it doesn't come back.
    again = frames.parse(b"d", b"select") + frames.parse(b"b", b"select")
    one.from_client(frames.query(b"drop ") + again + frames.SYNC)
    one.from_server(dropped + READY + PARSED + ERROR + READY)

    assert set(one._prepared) == {b"d"}


def test_a_statement_whose_name_was_taken_is_still_counted():
    one = session()
    one.from_client(frames.parse(b"a", b"select 1") + frames.SYNC)
    one.from_server(PARSED + READY)
    one.from_client(frames.parse(b"a", b"select 2") + frames.SYNC)
    one.from_server(ERROR + READY)
    one.from_client(frames.bind(b"", b"a") + frames.execute(b"") + frames.SYNC)
    one.done.clear()
    one.from_server(BOUND + DONE + READY)

    assert one.done[0].ruling is not None
    assert one.done[0].ruling.digest == "select 1"


def test_portals_are_bounded_within_a_transaction():
    one = session()
    one.from_client(frames.parse(b"a", b"select") + frames.SYNC)
    one.from_server(PARSED + READY)

    def open_one(number: int) -> bytes:
        return one.from_client(frames.bind(b"%d" % number, b"a") + frames.SYNC)

    for number in range(relay.PORTALS_MAX):
        open_one(number)
        one.from_server(BOUND + frames.ready(b"T"))

    assert open_one(relay.PORTALS_MAX).startswith(POISON)
    assert code(one.from_server(ERROR + READY)) == "53400"
    # The transaction is over, and its portals with it.
    assert POISON not in open_one(1)


# Time


def test_deadlines_are_of_what_runs_now():
    clock = Clock()
    one = session(clock=clock, limits=Limits(statement_s=10))
    clock.now = 100
    one.from_client(frames.query(b"select 1") + frames.query(b"select 2"))
    clock.now = 109
    assert one.overdue() == 0
    one.from_server(DONE + READY)
    clock.now = 118
    assert one.overdue() == 0
    clock.now = 120
    assert one.overdue() == 1


@pytest.mark.parametrize(
    ("asked", "answer", "sqlstate"),
    [
        (frames.query(b"begin"), DONE + frames.ready(b"T"), "25P03"),
        (frames.query(b"begin"), DONE + frames.ready(b"E"), "25P03"),
        # The server has no timeout of its own for a batch that is never ended.
        (extended(b"select") + frames.FLUSH, PARSED + BOUND + COLUMNS + DONE, "25P03"),
        (frames.query(b"select"), DONE + READY, None),
    ],
)
def test_idleness_in_a_transaction_has_its_limit(asked: bytes, answer: bytes, sqlstate: str | None):
    clock = Clock()
    one = session(clock=clock)
    one.from_client(asked)
    one.from_server(answer)
    clock.now = 11
    found = one.expired()

    assert (found and found["C"]) == sqlstate


def test_a_transaction_that_is_kept_busy_has_its_limit_too():
    clock = Clock()
    one = session(clock=clock)
    one.from_client(frames.query(b"begin"))
    one.from_server(DONE + frames.ready(b"T"))
    for _ in range(12):
        clock.now += 5
        assert one.expired() is None
        one.from_client(frames.query(b"select 1"))
        one.from_server(DONE + frames.ready(b"T"))
    clock.now += 5
    found = one.expired()

    assert found is not None
    assert found["C"] == "25P04"


def test_a_session_has_its_time_and_ends_between_transactions():
    clock = Clock()
    one = session(clock=clock, limits=Limits(idle_s=10_000, life_s=100))
    clock.now = 99
    assert one.expired() is None
    one.from_client(frames.query(b"select"))
    clock.now = 101
    assert one.expired() is None
    one.from_server(DONE + READY)
    found = one.expired()

    assert found is not None
    assert found["C"] == "57P01"


# Any bytes at all


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=80)), max_size=30))
def test_no_bytes_from_either_side_raise(pieces: list[tuple[bool, bytes]]):
    one = session()
    for is_client, piece in pieces:
        (one.from_client if is_client else one.from_server)(piece)


CLIENT_WORDS = [
    frames.query(b"select"),
    frames.query(b"no"),
    frames.parse(b"", b"select"),
    frames.parse(b"a", b"select"),
    frames.parse(b"a", b"no"),
    frames.bind(b"", b"a"),
    frames.bind(b"p", b""),
    frames.describe(b"S", b"a"),
    frames.describe(b"P", b"p"),
    frames.execute(b""),
    frames.execute(b"p", 1),
    frames.close(b"S", b"a"),
    frames.close(b"P", b"p"),
    frames.FLUSH,
    frames.SYNC,
]


def serve(stream: bytes, outcomes: "itertools.cycle[bool]") -> bytes:
    """What a server answers to these messages, where `outcomes` says which of them succeed."""
    said, is_skipping = [], False
    for kind, payload in messages(stream, frames.CLIENT_KINDS):
        if kind == "S":
            is_skipping = False
            said.append(READY)
        elif is_skipping or kind == "H":
            continue
        elif frames.message(kind.encode(), payload) in (POISON, POISON_QUERY) or not next(outcomes):
            is_skipping = kind != "Q"
            said.append(ERROR + (READY if kind == "Q" else b""))
        else:
            table = {"P": PARSED, "B": BOUND, "C": CLOSED, "E": ROW + DONE, "Q": COLUMNS + ROW + DONE + READY}
            described = frames.message(b"t", b"\0\0") if payload[:1] == b"S" else b""
            said.append(described + COLUMNS if kind == "D" else table[kind])

    return b"".join(said)


@given(
    st.lists(st.sampled_from(CLIENT_WORDS), max_size=40),
    st.lists(st.booleans(), min_size=1, max_size=5).filter(any),
    st.integers(1, 7),
)
def test_client_and_server_never_fall_out_of_step(words: list[bytes], outcomes: list[bool], batch: int):
    one = session()
    cycle = itertools.cycle(outcomes)
    for start in range(0, len(words), batch):
        answer = one.from_server(serve(one.from_client(b"".join(words[start : start + batch])), cycle))

        assert one.over is None
        assert b"no\0" not in answer
    final = one.from_server(serve(one.from_client(frames.SYNC), cycle))

    assert final.endswith(READY)
    assert not one.is_busy
