"""Messages cut out of a stream, read and written: whatever the pieces, whatever the bytes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback.sqlproxy import frames
from callmeback.sqlproxy.frames import CLIENT_KINDS, SERVER_KINDS, Message, Reader, Violation

LIMIT = 1_000

names = st.binary(max_size=40).map(lambda value: value.replace(b"\0", b""))
words = st.text(max_size=20).map(lambda value: value.replace("\0", ""))
client_messages = st.builds(
    lambda kind, payload: frames.message(bytes([kind]), payload),
    st.sampled_from(sorted(CLIENT_KINDS)),
    st.binary(max_size=200),
)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces, cut at these places."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]

    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def read_all(reader: Reader, pieces: list[bytes]) -> list[Message]:
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (message := reader.message()) is not None:
            found.append(message)

    return found


@given(st.lists(client_messages, max_size=30), st.lists(st.integers(min_value=0), max_size=20))
def test_messages_come_out_whole_however_they_are_cut(messages: list[bytes], places: list[int]):
    reader = Reader(CLIENT_KINDS, LIMIT)

    assert [message.raw for message in read_all(reader, cut(b"".join(messages), places))] == messages
    assert reader.buffered == 0


@given(
    st.lists(st.tuples(st.sampled_from(b"DDDCTZ"), st.binary(max_size=60)), max_size=30),
    st.lists(st.integers(min_value=0), max_size=20),
)
def test_messages_of_a_kind_are_passed_over_however_they_are_cut(sent: list[tuple[int, bytes]], places: list[int]):
    messages = [frames.message(bytes([kind]), payload) for kind, payload in sent]
    reader = Reader(SERVER_KINDS, LIMIT)
    found = []
    for piece in cut(b"".join(messages), places):
        reader.feed(piece)
        reader.skip(ord("D"))
        while (message := reader.message()) is not None:
            found.append(message.raw)
            reader.skip(ord("D"))

    assert found == [message for message in messages if message[:1] != b"D"]
    assert reader.buffered == 0


def test_what_can_t_be_a_message_is_not_passed_over():
    for length in (-1, 0, 3):
        reader = Reader(SERVER_KINDS, LIMIT)
        reader.feed(b"D" + length.to_bytes(4, "big", signed=True) + b"x" * 20)
        reader.skip(ord("D"))
        with pytest.raises(Violation):
            reader.message()


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_bytes_are_messages_or_a_violation(pieces: list[bytes]):
    reader = Reader(CLIENT_KINDS, LIMIT)

    try:
        read_all(reader, pieces)
    except Violation as exc:
        assert str(exc)


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_the_buffer_stays_within_the_limit_and_a_piece(pieces: list[bytes]):
    reader = Reader(CLIENT_KINDS, LIMIT, discards=True)
    for piece in pieces:
        reader.feed(piece)
        try:
            while reader.message() is not None:
                pass
        except Violation:
            return

        assert reader.buffered <= LIMIT + frames.HEADER_BYTES


@given(st.integers(LIMIT + 1, 5 * LIMIT), st.lists(st.integers(min_value=0), max_size=10))
def test_a_message_too_large_is_thrown_away_as_it_comes(size: int, places: list[int]):
    reader = Reader(SERVER_KINDS, LIMIT, discards=True)
    stream = frames.message(b"D", b"x" * size) + frames.ready(b"I")
    found = []
    for piece in cut(stream, places):
        reader.feed(piece)
        assert reader.buffered <= len(piece) + frames.HEADER_BYTES
        while (message := reader.message()) is not None:
            found.append(message)

    assert found == [Message(ord("D"), b"", size), Message(ord("Z"), frames.ready(b"I"), 1)]


def test_a_message_too_large_is_a_violation_before_it_has_arrived():
    reader = Reader(CLIENT_KINDS, LIMIT)
    reader.feed(frames.query(b"x" * LIMIT)[:5])

    with pytest.raises(Violation, match=f"{LIMIT} are accepted"):
        reader.message()


@pytest.mark.parametrize(
    "stream",
    [
        b"?\0\0\0\4",  # no such type
        b"?",
        b"GET /v2 HTTP/1.1\r\n",
        b"Q\0\0\0\3",  # shorter than its own length
        b"Q\xff\xff\xff\xff",
        b"Q\x7f\xff\xff\xff",
    ],
)
def test_what_is_no_message_is_a_violation(stream: bytes):
    reader = Reader(CLIENT_KINDS, LIMIT)
    reader.feed(stream)

    with pytest.raises(Violation):
        reader.message()


# Start-up


@given(st.dictionaries(words.filter(bool), words, max_size=10), st.integers(0, 9_999))
def test_a_startup_is_read_as_it_was_written(parameters: dict[str, str], minor: int):
    reader = Reader(CLIENT_KINDS, LIMIT)
    reader.feed(frames.startup(parameters, minor) + b"p")
    packet = reader.startup()
    assert packet is not None

    found = frames.read_startup(packet)

    assert (found.wants, found.minor, found.parameters) == ("start", minor, parameters)
    assert reader.rest() == b"p"


@given(st.integers(-(2**31), 2**31 - 1), st.binary(min_size=1, max_size=256))
def test_a_cancel_request_is_read_as_it_was_written(process: int, secret: bytes):
    found = frames.read_startup(frames.cancel_request(process, secret)[4:])

    assert (found.wants, found.process, found.secret) == ("cancel", process, secret)


@given(st.binary(min_size=4, max_size=300))
def test_any_packet_is_a_startup_or_a_violation(payload: bytes):
    try:
        frames.read_startup(payload)
    except Violation as exc:
        assert str(exc)


@pytest.mark.parametrize("length", [-1, 0, 7, frames.STARTUP_BYTES_MAX + 1, 0x7FFFFFFF])
def test_a_startup_of_a_wrong_length_is_refused_at_its_first_bytes(length: int):
    reader = Reader(CLIENT_KINDS, LIMIT)
    reader.feed(length.to_bytes(4, "big", signed=True))

    with pytest.raises(Violation):
        reader.startup()


@pytest.mark.parametrize(
    "rest", [b"", b"user\0", b"user\0a\0", b"user\0\0", b"user\0a\0\0x", b"\0a\0\0", b"a\0b\0c\0\0", b"\xff\0a\0\0"]
)
def test_a_startup_of_a_wrong_layout_is_refused(rest: bytes):
    with pytest.raises(Violation):
        frames.read_startup(b"\0\3\0\0" + rest)


def test_older_protocols_are_refused():
    with pytest.raises(Violation, match="protocol"):
        frames.read_startup(b"\0\2\0\0user\0a\0\0")


# Single messages


@given(names, names, st.integers(0, 20))
def test_a_parse_is_read_as_it_was_written(name: bytes, text: bytes, count: int):
    types = count.to_bytes(2, "big") + b"\0\0\0\x17" * count

    assert frames.read_parse(frames.parse(name, text, types)[5:]) == frames.Parse(name, text, types)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"\0select 1\0",
        b"\0select 1\0\0\1",  # one type is announced, none follows
        b"\0select 1\0\0\0\0",
        b"\0select 1; \0drop table users\0\0\0",  # a second text behind the first one's end
    ],
)
def test_a_parse_with_anything_missing_or_left_over_is_refused(payload: bytes):
    with pytest.raises(Violation):
        frames.read_parse(payload)


@pytest.mark.parametrize("payload", [b"", b"select 1", b"select 1\0x", b"select 1\0; drop table users\0"])
def test_a_query_is_one_string_and_nothing_else(payload: bytes):
    with pytest.raises(Violation):
        frames.read_string(payload)


@given(names, names, st.lists(st.none() | st.binary(max_size=20), max_size=10))
def test_names_are_read_as_they_were_written(first: bytes, second: bytes, values: list[bytes | None]):
    assert frames.read_bind(frames.bind(first, second, values)[5:]) == (first, second)
    assert frames.read_execute(frames.execute(first, 7)[5:]) == first
    assert frames.read_target(frames.describe(b"S", first)[5:]) == (ord("S"), first)
    assert frames.read_target(frames.close(b"P", second)[5:]) == (ord("P"), second)


READERS = [
    frames.read_parse,
    frames.read_bind,
    frames.read_execute,
    frames.read_target,
    frames.read_string,
    frames.read_fields,
    frames.read_setting,
    frames.read_key,
    frames.read_authentication,
    frames.read_ready,
]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@given(payload=st.binary(max_size=100))
def test_any_payload_is_read_or_a_violation(read, payload: bytes):
    try:
        read(payload)
    except Violation as exc:
        assert str(exc)


@given(st.dictionaries(st.sampled_from("SVCMDHPWstcdn"), words))
def test_the_fields_of_an_error_are_read_as_they_were_written(fields: dict[str, str]):
    assert frames.read_fields(frames.error(fields)[5:]) == fields


def test_an_error_never_ends_early():
    fields = frames.read_fields(frames.error({"M": "a\0b", "C": "42501"})[5:])

    assert fields == {"M": "ab", "C": "42501"}


@given(words, words, st.integers(-(2**31), 2**31 - 1), st.binary(min_size=1, max_size=256))
def test_what_a_server_sends_is_read_as_it_was_written(name: str, value: str, process: int, secret: bytes):
    assert frames.read_setting(frames.setting(name, value)[5:]) == (name, value)
    assert frames.read_key(frames.key_data(process, secret)[5:]) == (process, secret)
    assert frames.read_authentication(frames.authentication(10, secret)[5:]) == (10, secret)
    assert frames.read_ready(frames.ready(b"T")[5:]) == ord("T")
