"""How figures, times and states are written for people. Pure; the templates' filters."""

import zlib
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec
import phonenumbers

from callmeback import money
from callmeback.domain import zones

HUES: Final = 6
CENTS_IN_A_DOLLAR: Final = 100
OWN_PICTURES: Final = "/static/"

STATUSES: Final = {
    "initiating": "Placing the call",
    "calling": "Ringing",
    "connected": "Connecting",
    "in_progress": "Talking",
    "completed": "Talked",
    "failed": "Failed",
    "no_answer": "Not answered",
    "busy": "Declined or busy",
    "canceled": "Canceled",
}

END_REASONS: Final = {
    "hung_up": "You hung up.",
    "goodbye": "You said goodbye to each other.",
    "hang_up_requested": "You ended it from the page.",
    "time_limit": "The longest time for this call was reached.",
    "credits_used_up": "Your credits were used up.",
    "call_budget_reached": "The budget for one call was reached.",
    "month_budget_reached": "The budget for this month was reached.",
    "silence": "It had been silent for a while.",
    "voicemail": "A voicemail box picked up.",
    "vendor_failed": "Something failed on our side.",
    "busy": "The line was busy, or the call was declined.",
    "no_answer": "Nobody picked up.",
    "canceled": "It was canceled before anybody picked up.",
    "failed": "The call could not be connected.",
    "dial_failed": "The carrier didn't take the call.",
    "dial_expired": "It waited too long to be dialled.",
    "lost": "The line was lost; you pay up to the last second that was counted.",
    "hung_up_early": "You hung up before it began.",
    "draining": "The server was being restarted.",
}

LIMITED_BY: Final = {
    "tier": "your plan",
    "persona": "this persona's own limit",
    "request": "the length you asked for",
    "credits": "your credits",
    "call_budget": "your budget for one call",
    "month_budget": "what is left of your budget for this month",
}

LEDGER: Final = {
    "purchase": "Bought",
    "subscription_refill": "Monthly credits",
    "call_deduction": "A call",
    "refund": "Refunded",
    "admin_adjustment": "Adjusted by the operator",
    "promotion": "A gift",
    "expiry": "Expired",
}


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(items) < 2:
        return "".join(items)

    return f"{', '.join(items[:-1])} and {items[-1]}"


def hue(name: str) -> int:
    """One of the colours of a face without a picture; the same name always has the same."""
    return zlib.crc32(name.encode()) % HUES + 1


def own_picture(address: str | None) -> str | None:
    """A picture of this site; pages load nothing from another host."""
    return address if address is not None and address.startswith(OWN_PICTURES) else None


def lower_first(text: str) -> str:
    """For a sentence that goes on in the middle of another."""
    return text[:1].lower() + text[1:]


def upper_first(text: str) -> str:
    """For a name that begins a line."""
    return text[:1].upper() + text[1:]


class Face(msgspec.Struct, frozen=True):
    """What a face is drawn from."""

    name: str
    avatar_url: str | None


class Named(Protocol):
    """What names a persona and its picture."""

    @property
    def persona_name(self) -> str: ...

    @property
    def avatar_url(self) -> str | None: ...


def persona_face(one: Named) -> Face:
    """Who calls, or called."""
    return Face(one.persona_name, one.avatar_url)


def clock(seconds: int | None) -> str:
    """`1:05`, or `1:02:05` from an hour on."""
    minutes, rest = divmod(seconds or 0, 60)
    hours, minutes = divmod(minutes, 60)

    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: int | None) -> str:
    """`5 min`, `1 min 30 s`, `40 s`."""
    minutes, rest = divmod(seconds or 0, 60)
    parts = [f"{minutes} min"] if minutes else []
    if rest or not parts:
        parts.append(f"{rest} s")

    return " ".join(parts)


def cents(value: Decimal | str) -> str:
    """A cost in cents, rounded for people to hundredths: `13.17 ¢`."""
    return f"{money.display_cents(Decimal(value))} ¢"


def exact_cents(value: Decimal | str) -> str:
    """A cost to the last digit that matters: `0.00352 ¢`."""
    return f"{money.format_cents(Decimal(value))} ¢"


def dollars(value: Decimal | None) -> str:
    """Cents as dollars: `$10.00`."""
    return f"${(value or Decimal(0)) / 100:,.2f}"


def price(cents: Decimal, currency: str) -> str:
    """What is paid: `$14.99`, or `14.99 EUR` in a currency without a sign here."""
    if currency == "usd":
        return f"-{dollars(-cents)}" if cents < 0 else dollars(cents)

    return f"{cents / 100:,.2f} {currency.upper()}"


def signed_dollars(cents: Decimal) -> str:
    """Cents as dollars, a loss with its sign in front: `-$3.20`."""
    return price(cents, "usd")


def small(cents: Decimal | str) -> str:
    """A cost as people say it: `13.17 ¢` below a dollar, `$2.45` from there on."""
    value = Decimal(cents)

    return dollars(value) if value >= CENTS_IN_A_DOLLAR else f"{money.display_cents(value)} ¢"


def date_of(at: datetime, zone: str) -> str:
    """The day alone, with its year: `25 November 2026`."""
    here = local(at, zone)

    return f"{here.day} {here:%B %Y}"


def month_of(day: date) -> str:
    """`November 2026`."""
    return f"{day:%B %Y}"


def weekday_of(day: date) -> str:
    """`Wed 25 Nov`."""
    return f"{day:%a} {day.day} {day:%b}"


def number(value: int | Decimal | None) -> str:
    """With a separator of thousands, without zeros at the end."""
    text = f"{value or 0:,f}" if isinstance(value, Decimal) else f"{value or 0:,}"

    return text.rstrip("0").rstrip(".") if "." in text else text


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 credit`, `2 credits`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def ordinal(count: int) -> str:
    """`1st`, `12th`, `23rd`."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")

    return f"{count}{'th' if 10 < count % 100 < 14 else ending}"


def phone(e164: str) -> str:
    """A number as it is written in its country's international form."""
    try:
        parsed = phonenumbers.parse(e164)
    except phonenumbers.NumberParseException:
        return e164

    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def local(at: datetime, zone: str) -> datetime:
    """The moment on the person's clock."""
    return at.astimezone(zones.zone_or_utc(zone))


def day(at: datetime, zone: str) -> str:
    """`Today`, `Yesterday`, `Monday 3 November` or, in another year, `3 November 2025`."""
    here, now = local(at, zone), datetime.now(zones.zone_or_utc(zone))
    if here.date() == now.date():
        return "Today"
    if here.date() == now.date() - timedelta(days=1):
        return "Yesterday"
    if here.year == now.year:
        return f"{here:%A} {here.day} {here:%B}"

    return f"{here.day} {here:%B %Y}"


def day_to_come(at: datetime, zone: str) -> str:
    """`Today`, `Tomorrow`, `Monday 3 November` or, in another year, `3 November 2027`."""
    here, today = local(at, zone).date(), datetime.now(zones.zone_or_utc(zone)).date()
    if here == today + timedelta(days=1):
        return "Tomorrow"

    return day(at, zone)


def offset(at: datetime) -> str:
    """`UTC+2`, `UTC-3:30`, of the zone that a time is in."""
    shift = at.utcoffset() or timedelta()
    minutes = int(shift.total_seconds()) // 60
    hours, rest = divmod(abs(minutes), 60)

    return f"UTC{'-' if minutes < 0 else '+'}{hours}{f':{rest:02}' if rest else ''}"


def shifted(shift: timedelta) -> str:
    """`forward an hour`, `back 30 min`."""
    minutes = abs(int(shift.total_seconds())) // 60
    length = "an hour" if minutes == 60 else duration(minutes * 60)

    return f"{'forward' if shift > timedelta() else 'back'} {length}"


def hour(at: datetime, zone: str) -> str:
    """`14:05` on the person's clock."""
    return f"{local(at, zone):%H:%M}"


def ring_hour(at: datetime, zone: str) -> str:
    """`07:00`, or `07:00:30` of a time that was asked for to the second."""
    here = local(at, zone)

    return f"{here:%H:%M:%S}" if here.second else f"{here:%H:%M}"


def when(at: datetime, zone: str) -> str:
    """Day and hour."""
    return f"{day(at, zone)}, {hour(at, zone)}"


def when_inside(at: datetime, zone: str) -> str:
    """Day and hour in the middle of a sentence: names of days keep their capital."""
    text = when(at, zone)

    return lower_first(text) if text.startswith(("Today", "Yesterday")) else text


def _word(table: dict[str, str]) -> Callable[[str | None], str]:
    return lambda key: table.get(key or "", (key or "").replace("_", " "))


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "listed": listed,
    "lower_first": lower_first,
    "upper_first": upper_first,
    "persona_face": persona_face,
    "hue": hue,
    "own_picture": own_picture,
    "clock": clock,
    "duration": duration,
    "cents": cents,
    "exact_cents": exact_cents,
    "dollars": dollars,
    "price": price,
    "signed_dollars": signed_dollars,
    "small": small,
    "date_of": date_of,
    "month_of": month_of,
    "weekday_of": weekday_of,
    "number": number,
    "plural": plural,
    "phone": phone,
    "day": day,
    "day_to_come": day_to_come,
    "offset": offset,
    "shifted": shifted,
    "hour": hour,
    "ring_hour": ring_hour,
    "when": when,
    "when_inside": when_inside,
    "status_word": _word(STATUSES),
    "end_word": _word(END_REASONS),
    "limit_word": _word(LIMITED_BY),
    "ledger_word": _word(LEDGER),
}
