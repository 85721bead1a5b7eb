"""TypeIDs: form, order, uniqueness, and the specification's own example."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback import ids


@pytest.mark.parametrize("prefix", get_args(ids.Prefix))
def test_new_ids_have_prefix_and_26_letters(prefix: ids.Prefix) -> None:
    made = ids.new(prefix)

    assert made.startswith(f"{prefix}_")
    assert len(made) == len(prefix) + 1 + 26
    assert ids.is_valid(made, prefix)


def test_encoding_matches_the_published_vectors() -> None:
    # valid.json of the TypeID specification 0.3.
    vectors = {
        "00000000000000000000000000": "00000000-0000-0000-0000-000000000000",
        "00000000000000000000000001": "00000000-0000-0000-0000-000000000001",
        "0000000000000000000000000g": "00000000-0000-0000-0000-000000000010",
        "00000000000000000000000010": "00000000-0000-0000-0000-000000000020",
        "7zzzzzzzzzzzzzzzzzzzzzzzzz": "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "0123456789abcdefghjkmnpqrs": "0110c853-1d09-52d8-d73e-1194e95b5f19",
        "01h455vb4pex5vsknk084sn02q": "01890a5d-ac96-774b-bcce-b302099a8057",
    }

    assert {suffix: str(ids.decode(f"call_{suffix}")) for suffix in vectors} == vectors
    assert {ids.encode(uuid.UUID(value)): value for value in vectors.values()} == vectors


@given(st.uuids())
def test_decoding_undoes_encoding(value: uuid.UUID) -> None:
    assert ids.decode(f"user_{ids.encode(value)}") == value


def test_ids_carry_the_time_and_version() -> None:
    before = time.time_ns() // 1_000_000
    value = ids.decode(ids.new("call"))
    after = time.time_ns() // 1_000_000

    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert before <= value.int >> 80 <= after + 1


def test_ids_sort_as_made_even_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [ids.new("evt") for _ in range(2_000)]
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    second = [ids.new("evt") for _ in range(2_000)]

    assert first + second == sorted(first + second)


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ids.new("txn"), range(8_000)))

    assert len(set(made)) == 8_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "call_",
        "01h455vb4pex5vsknk084sn02q",
        "order_01h455vb4pex5vsknk084sn02q",
        "call_81h455vb4pex5vsknk084sn02q",
        "call_01H455VB4PEX5VSKNK084SN02Q",
        "call_01h455vb4pex5vsknk084sn02",
        "call_01h455vb4pex5vsknk084sn02q\n",
        "call_01h455vb4pex5vsknk084sn0il",
    ],
)
def test_decode_refuses_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        ids.decode(text)
