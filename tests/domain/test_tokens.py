"""Session tokens, derived keys and links, without a database."""

import time

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback import errors
from callmeback.domain import tokens
from callmeback.domain.tokens import Keys

SECRET = "s" * 40


def test_a_signed_token_reads_back():
    claims = tokens.claims_for("user_1", "ann@example.org")

    assert tokens.read(SECRET, tokens.sign(SECRET, claims)) == claims
    assert claims.exp - claims.iat == 604_800
    assert claims.issued_at.microsecond == 0


def test_two_sessions_have_ids_of_their_own():
    assert tokens.claims_for("user_1", "a@b.co").jti != tokens.claims_for("user_1", "a@b.co").jti


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused(algorithm: str):
    claims = msgspec.to_builtins(tokens.claims_for("user_1", "a@b.co"))
    token = jwt.encode(claims, "s" * 64, algorithm=algorithm)

    with pytest.raises(errors.Unauthorized):
        tokens.read("s" * 64, token)


def test_a_token_is_good_to_its_last_second_and_no_longer():
    now = int(time.time())
    young = tokens.claims_for("user_1", "a@b.co", now - tokens.LIFETIME_SECONDS + 60)
    old = tokens.claims_for("user_1", "a@b.co", now - tokens.LIFETIME_SECONDS - 60)

    assert tokens.read(SECRET, tokens.sign(SECRET, young)) == young
    with pytest.raises(errors.Unauthorized):
        tokens.read(SECRET, tokens.sign(SECRET, old))


@given(st.text(max_size=200))
def test_no_text_is_read_as_a_token(text: str):
    with pytest.raises(errors.Unauthorized):
        tokens.read(SECRET, text)


def test_keys_for_different_uses_differ():
    keys = Keys(SECRET)
    digests = {keys.digest(use, "x") for use in ("csrf", "stream", "attempts", "phone_code", "refusal")}

    assert len(digests) == 5
    assert Keys(SECRET).digest("csrf", "x") == keys.digest("csrf", "x")
    assert Keys("t" * 40).digest("csrf", "x") != keys.digest("csrf", "x")


def test_the_border_between_parts_counts():
    keys = Keys(SECRET)

    assert keys.digest("stream", "ab", "c") != keys.digest("stream", "a", "bc")


def test_a_link_s_token_is_known_by_its_hash_alone():
    token, token_hash = tokens.one_time()

    assert tokens.one_time_hash(token) == token_hash
    assert len(token_hash) == 32
    assert len(token) >= 43
