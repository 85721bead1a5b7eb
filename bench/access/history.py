"""A history of any size as lines of COPY: people, personas, calls with their costs, ledger and transcripts.

A larger history has more people and more calls a day, over the same thousand days; each person has a hundred calls of
it. Everything follows from the number of a call, so that each table is made by itself, in any process, and agrees with
the others. Rows come in the order of time, as they would have come.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

import msgspec

DAYS: Final = 1_000
CALLS_EACH: Final = 100
LIVE: Final = 50
HOUSE_PERSONAS: Final = ("brad", "sarah", "alex", *(f"house_{n:02d}" for n in range(17)))
RELATIONSHIPS_EACH: Final = 8
FAVOURITES_EACH: Final = 2
# One person in ten has made a persona, and one call in ten isn't picked up.
PERSONA_OWNERS: Final = 10
UNANSWERED: Final = 10
CREDITS_AT_FIRST: Final = 1_000
MINUTES_MAX: Final = 9
PURCHASES_EACH: Final = 2
OVERDUE_PLANS: Final = 50

DAY_S: Final = 86_400
NULL: Final = "\\N"
CLOCK: Final = [f" {s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}+00" for s in range(DAY_S)]
PRETEXT: Final = (NULL, NULL, "I have an interview on Friday and would like to rehearse the first minute of it.")
SAID: Final = ("Good morning! Where shall we begin?", "With the question that I always stumble over.")


def _costs(seconds: int) -> str:
    """What the vendors cost for so many seconds, as the columns of a breakdown from `twilio_cost_cents` on."""
    each = [seconds * Decimal(rate) for rate in ("0.0217", "0.0077", "0.0003", "0.0500")]

    return "\t".join(str(cents) for cents in (*each, sum(each)))


COSTS: Final = [_costs(seconds) for seconds in range(MINUTES_MAX * 60 + 1)]
TOTALS: Final = [costs.rsplit("\t", 1)[1] for costs in COSTS]


class Scale(msgspec.Struct, frozen=True):
    """How large a history is, and the second at which it ends."""

    calls: int
    ends_at: int

    @property
    def people(self) -> int:
        return max(self.calls // CALLS_EACH, 1_000)

    @property
    def begins_at(self) -> int:
        return self.ends_at - DAYS * DAY_S

    def at(self, call: int) -> int:
        """The second of a call."""
        return self.begins_at + (call + 1) * DAYS * DAY_S // self.calls

    def calls_of(self, person: int) -> int:
        """How many calls a person has."""
        return (self.calls - person + self.people - 1) // self.people


def user_id(person: int) -> str:
    return f"user_01h{person:023d}"


def call_id(call: int) -> str:
    return f"call_01h{call:023d}"


def persona_of(call: int, person: int) -> str:
    """Own personas are called by who made them."""
    if person % PERSONA_OWNERS == 0 and call % 3 == 0:
        return f"per_01h{person:023d}"
    return HOUSE_PERSONAS[(person + call // 7 % RELATIONSHIPS_EACH) % len(HOUSE_PERSONAS)]


def stamp(second: int) -> str:
    day, rest = divmod(second, DAY_S)

    return DATES[day] + CLOCK[rest]


class _Dates(dict[int, str]):
    """Dates by the days since 1970, each written once."""

    def __missing__(self, day: int) -> str:
        self[day] = text = (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()
        return text


DATES: Final = _Dates()


def is_unanswered(turn: int, person: int) -> bool:
    """Whether the call of a person with this number (from 0) wasn't picked up."""
    return (turn + person) % UNANSWERED == 0


def charged_before(turn: int, person: int) -> int:
    """How many calls of a person were charged before the one with this number."""
    unanswered = (person + turn + UNANSWERED - 1) // UNANSWERED - (person + UNANSWERED - 1) // UNANSWERED

    return turn - unanswered


def calls(scale: Scale, first: int, last: int) -> Iterator[str]:
    for n in range(first, last):
        turn, person = divmod(n, scale.people)
        second = scale.at(n)
        at = stamp(second)
        day = DATES[second // DAY_S]
        head = (
            f"{call_id(n)}\t{user_id(person)}\t{persona_of(n, person)}\t+12025550100\tCA{n:032x}\t"
            f"1\t{day}\t{day[:8]}01\t{at}\t{at}\t{PRETEXT[n % 3]}"
        )
        minutes = person % MINUTES_MAX + 1
        if n >= scale.calls - LIVE:
            yield f"{head}\tin_progress\t\\N\t\\N\t\\N\t\\N\t\\N\t{at}\t{at}\t{minutes}\t170\tt\t\\N\t\\N\t\\N\n"
        elif is_unanswered(turn, person):
            end = stamp(second + 30)
            yield (
                f"{head}\tno_answer\tnot_charged\t0\t0\t{end}\t0\t\\N\t{end}\t{minutes}\t170\tf\tno_answer\t\\N\t\\N\n"
            )
        else:
            seconds = minutes * 60 - n % 60
            answered, end = stamp(second + 10), stamp(second + 10 + seconds)
            yield (
                f"{head}\tcompleted\tcredit_used\t{TOTALS[seconds]}\t{minutes}\t{end}\t{seconds}\t{answered}\t"
                f"{end}\t{minutes}\t170\tf\thung_up\t{n % 20}\t{600 + n % 300}\n"
            )


def breakdowns(scale: Scale, first: int, last: int) -> Iterator[str]:
    for n in range(first, last):
        turn, person = divmod(n, scale.people)
        second = scale.at(n)
        at = stamp(second)
        is_live = n >= scale.calls - LIVE
        seconds = 0 if is_unanswered(turn, person) and not is_live else (person % MINUTES_MAX + 1) * 60 - n % 60
        seen = stamp(second + 10 + seconds)
        yield (
            f"{call_id(n)}\t{user_id(person)}\t1\t{seconds}\t{seconds * 40}\t{seconds * 4}\t{seconds * 9}\t{seen}\t"
            f"{at}\t{NULL if is_live else seen}\t{seconds}\t{COSTS[seconds]}\n"
        )


def ledger(scale: Scale, first: int, last: int) -> Iterator[str]:
    """What each person began with, then what each call took."""
    if first == 0:
        begun = stamp(scale.begins_at)
        for person in range(scale.people):
            yield (
                f"{user_id(person)}\t1\t{CREDITS_AT_FIRST}\t0\t{CREDITS_AT_FIRST}\tpromotion\tadjust:first\t\\N\t{begun}\n"
            )
    for n in range(first, min(last, scale.calls - LIVE)):
        turn, person = divmod(n, scale.people)
        if is_unanswered(turn, person):
            continue
        charged = charged_before(turn, person)
        minutes = person % MINUTES_MAX + 1
        before = CREDITS_AT_FIRST - charged * minutes
        call = call_id(n)
        yield (
            f"{user_id(person)}\t{charged + 2}\t{-minutes}\t{before}\t{before - minutes}\tcall_deduction\tcall:{call}\t"
            f"{call}\t{stamp(scale.at(n) + 600)}\n"
        )


def transcripts(scale: Scale, first: int, last: int) -> Iterator[str]:
    for n in range(first, min(last, scale.calls - LIVE)):
        turn, person = divmod(n, scale.people)
        if is_unanswered(turn, person):
            continue
        second = scale.at(n)
        head = f"{user_id(person)}\t{call_id(n)}"
        yield f"{head}\t0\tpersona\t{SAID[0]}\t{stamp(second + 12)}\n{head}\t1\tuser\t{SAID[1]}\t{stamp(second + 18)}\n"


def users(scale: Scale) -> Iterator[str]:
    for person in range(scale.people):
        at = stamp(scale.begins_at + person * DAYS * DAY_S // scale.people)
        yield f"{user_id(person)}\tperson{person}@example.org\tx\tPerson {person}\tEurope/Berlin\t{at}\n"


def accounts(scale: Scale) -> Iterator[str]:
    tiers = ("free", "basic", "premium", "unlimited")
    month = DATES[scale.ends_at // DAY_S][:8] + "01"
    live = {n % scale.people for n in range(scale.calls - LIVE, scale.calls)}
    for person in range(scale.people):
        minutes = person % MINUTES_MAX + 1
        turns = scale.calls_of(person) - (person in live)
        charged = charged_before(turns, person)
        held = minutes if person in live else 0
        yield (
            f"{user_id(person)}\t{tiers[person % 4]}\t{CREDITS_AT_FIRST - charged * minutes - held}\t{held}\t"
            f"{charged + 1}\t{month}\t{person % 700}\n"
        )


def budgets(scale: Scale) -> Iterator[str]:
    for person in range(0, scale.people, 2):
        yield f"{user_id(person)}\t500\t5000\n"


def personas(scale: Scale) -> Iterator[str]:
    begun = stamp(scale.begins_at)
    for name in HOUSE_PERSONAS[3:]:
        yield f"{name}\t\\N\tHouse {name[-2:]}\tYou are one of the house.\tfriend\t{begun}\n"
    for person in range(0, scale.people, PERSONA_OWNERS):
        yield f"per_01h{person:023d}\t{user_id(person)}\tOwn\tYou are who {person} thought of.\tfriend\t{begun}\n"


def relationships(scale: Scale) -> Iterator[str]:
    for person in range(scale.people):
        for place in range(RELATIONSHIPS_EACH):
            last = stamp(scale.ends_at - person % 1_000 - place * DAY_S)
            yield (
                f"rel_01h{person:021d}{place:02d}\t{user_id(person)}\t"
                f"{HOUSE_PERSONAS[(person + place) % len(HOUSE_PERSONAS)]}\t{'t' if place < FAVOURITES_EACH else 'f'}\t"
                f"{12 - place}\t{last}\n"
            )


def plans(scale: Scale) -> Iterator[str]:
    """Single calls that were planned: five of each person past, two to come, and some that are due now."""
    for n in range(scale.people * 5):
        at = stamp(scale.begins_at + n * DAYS * DAY_S // (scale.people * 5))
        yield f"sch_01h{n:023d}\t{user_id(n % scale.people)}\tbrad\t+12025550100\t{at}\texecuted\tcompleted\t{at}\n"
    made = stamp(scale.ends_at - DAY_S)
    for n in range(scale.people * 2):
        late = n < OVERDUE_PLANS
        at = stamp(scale.ends_at - n if late else scale.ends_at + DAY_S + n * 30 * DAY_S // scale.people)
        yield f"sch_01j{n:023d}\t{user_id(n % scale.people)}\tbrad\t+12025550100\t{at}\tscheduled\t\\N\t{made}\n"


def _bought(scale: Scale) -> Iterator[tuple[str, str, str]]:
    total = scale.people * PURCHASES_EACH
    for n in range(total):
        at = stamp(scale.begins_at + (n + 1) * DAYS * DAY_S // total - 1)
        yield f"{user_id(n % scale.people)}\tpur_01h{n:023d}", at, f"pi_{n:024d}"


def purchases(scale: Scale) -> Iterator[str]:
    for key, at, intent in _bought(scale):
        yield f"{key}\t{intent}\tpack_100\t100\t999\tusd\tcompleted\t{at}\t{at}\n"


def payments(scale: Scale) -> Iterator[str]:
    for key, at, intent in _bought(scale):
        yield f"{key}\tpurchase\t{intent}\t100 credits\t999\tusd\t100\t{at}\t{at}\n"


def open_calls(scale: Scale) -> Iterator[str]:
    for n in range(scale.calls - LIVE, scale.calls):
        at = stamp(scale.at(n))
        yield f"{user_id(n % scale.people)}\t{call_id(n)}\t{at}\t{at}\t{at}\n"


# Of one row a call: too large to be written into their indexes row by row.
LARGE: Final[dict[str, tuple[str, Callable[[Scale, int, int], Iterator[str]]]]] = {
    "transcripts": ("user_id, call_id, seq, speaker, text, at", transcripts),
    "calls": (
        "id, user_id, persona_id, phone_number, twilio_call_sid, price_version_id, local_day, local_month, start_time,"
        " created_at, call_pretext, status, payment_status, actual_cost_cents, credits_used, end_time,"
        " duration_seconds, answered_at, updated_at, hold_credits, hold_cents, hold_open, end_reason, turn_count,"
        " avg_response_time_ms",
        calls,
    ),
    "call_cost_breakdowns": (
        "call_id, user_id, price_version_id, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens,"
        " elevenlabs_characters, seen_at, created_at, settled_at, deepgram_audio_seconds, twilio_cost_cents,"
        " deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents",
        breakdowns,
    ),
    "credit_transactions": (
        "user_id, seq, amount, balance_before, balance_after, type, cause, call_id, created_at",
        ledger,
    ),
}
SMALL: Final[dict[str, tuple[str, Callable[[Scale], Iterator[str]]]]] = {
    "users": ("id, email, password_hash, name, timezone, created_at", users),
    "user_credits": (
        "user_id, subscription_tier, available_credits, held_credits, ledger_seq, spend_month, spent_in_month_cents",
        accounts,
    ),
    "user_budget_settings": ("user_id, max_cost_per_call_cents, max_monthly_spend_cents", budgets),
    "personas": ("id, owner_user_id, name, core_system_prompt, category, created_at", personas),
    "user_persona_relationships": ("id, user_id, persona_id, is_favorite, total_calls, last_call_at", relationships),
    "scheduled_calls": (
        "id, user_id, persona_id, phone_number, scheduled_time, status, outcome, created_at",
        plans,
    ),
    "purchases": (
        "user_id, id, payment_intent_id, sku, credits, amount_cents, currency, status, created_at, completed_at",
        purchases,
    ),
    "payments": (
        "user_id, id, kind, payment_intent_id, description, amount_cents, currency, credits, paid_at, created_at",
        payments,
    ),
    "open_calls": ("user_id, call_id, created_at, dial_before, dial_claimed_at", open_calls),
}
