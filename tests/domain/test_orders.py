"""Pure decisions of the domain: numbers, names, zones, periods, what makes two orders the same."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback import errors
from callmeback.domain import auth, calls, costs, credits, dials, phones
from callmeback.domain.calls import CallOrder

REGIONS = ("US", "GB", "DE")


@given(st.integers(100, 199))
def test_every_test_number_can_be_called(last: int):
    number = f"+12025550{last}"

    assert phones.normalise(number, REGIONS) == number
    assert phones.normalise(f" +1 (202) 555-0{last} ", REGIONS) == number


@given(st.text(max_size=60))
def test_c09_any_text_is_a_number_or_refused(text: str):
    try:
        number = phones.normalise(text, REGIONS)
    except (errors.PhoneInvalid, errors.PremiumNumber, errors.RegionNotAllowed):
        return

    assert number[0] == "+" and number[1:].isascii() and number[1:].isdigit()


def test_codes_are_six_digits_in_one_text():
    assert [word.strip(".") for word in phones.text_of("012345").split() if word.strip(".").isdigit()] == [
        "012345",
        "10",
    ]


@pytest.mark.parametrize(
    "email",
    [
        "ann@example.org",
        "a.b+c@sub.example.co.uk",
        "o'hara@example.org",
        f"{'a' * 64}@example.org",
        "a@xn--bcher-kva.ch",
    ],
)
def test_an_email_that_can_be_mailed_to(email: str):
    assert auth.check_email(f" {email} ") == email


@pytest.mark.parametrize(
    "email",
    ["", "@", "a@", "@b.co", "a@b", "a b@c.de", "a@b..co", ".a@b.co", "a.@b.co", "a..b@c.de", "a@-b.co",
     "a@b.co,c@d.co", "a@b.co\nBcc: x@y.z", "ä@b.co", "a@bücher.ch", "a@[127.0.0.1]", f"{'a' * 65}@b.co",
     f"a@{'b.' * 130}co"],
)  # fmt: skip
def test_what_is_no_email(email: str):
    with pytest.raises(errors.ValidationFailed):
        auth.check_email(email)


def test_zones_are_those_of_the_iana():
    assert auth.check_timezone("Europe/Berlin") == "Europe/Berlin"
    for wrong in ("europe/berlin", "CEST+2", "../UTC", "localtime", "Factory", "", "UTC\0"):
        with pytest.raises(errors.ValidationFailed):
            auth.check_timezone(wrong)


def test_m13_a_day_is_the_person_s():
    moment = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)

    assert credits.local_day("UTC", moment) == date(2026, 11, 22)
    assert credits.local_day("Europe/Berlin", moment) == date(2026, 11, 23)
    assert credits.local_day("Pacific/Kiritimati", moment) == date(2026, 11, 23)
    assert credits.local_day("Pacific/Pago_Pago", moment) == date(2026, 11, 22)


def test_the_next_day_begins_at_local_midnight():
    before_the_clocks_go_forward = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)

    assert credits.seconds_to_midnight("UTC", before_the_clocks_go_forward) == 30 * 60
    assert credits.seconds_to_midnight("Europe/Berlin", before_the_clocks_go_forward) == 22 * 3600 + 30 * 60


def test_c07_a_period_begins_and_ends_at_local_midnights():
    period = costs.period("Europe/Berlin", date(2026, 3, 28), date(2026, 3, 29))

    assert period.begins_at == datetime(2026, 3, 27, 23, tzinfo=UTC)
    # The clocks go forward on the 29th: that day has 23 hours.
    assert period.ends_at - period.begins_at == timedelta(hours=47)


def test_a_period_is_thirty_days_unless_it_says_otherwise():
    period = costs.period("UTC", None, date(2026, 1, 31))

    assert (period.first, period.last) == (date(2026, 1, 2), date(2026, 1, 31))


@given(st.dates(), st.dates())
def test_any_two_days_are_a_period_or_refused(first: date, last: date):
    try:
        period = costs.period("Asia/Kolkata", first, last)
    except errors.ValidationFailed:
        return

    assert period.begins_at < period.ends_at


def test_orders_with_the_same_effect_have_one_fingerprint():
    order = CallOrder(persona_id="brad")
    same = CallOrder(persona_id="brad", phone_number="+1 202 555 0101", context="")
    others = [
        CallOrder(persona_id="alex"),
        CallOrder(persona_id="brad", max_minutes=5),
        CallOrder(persona_id="brad", context="interview"),
        CallOrder(persona_id="brad", scenario_id="scn_bad_date"),
    ]
    number = "+12025550101"
    prints = {calls.fingerprint(other, number) for other in others} | {calls.fingerprint(order, "+12025550102")}

    assert calls.fingerprint(order, number) == calls.fingerprint(same, number)
    assert len(prints) == 5
    assert calls.fingerprint(order, number) not in prints


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        (None, None), ("", None), ("human", "human"), ("machine_start", "machine"), ("machine_end_beep", "machine"),
        ("machine_end_other", "machine"), ("fax", "fax"), ("unknown", "unknown"), ("a dog", None),
    ],
)  # fmt: skip
def test_the_carrier_s_words_for_who_answered(word: str | None, meaning: str | None):
    assert dials.answered_by(word) == meaning
