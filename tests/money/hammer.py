"""The hammer: many real connections do everything that can happen to accounts and calls, at once, and some are killed.

Nothing here judges the books; `proofs.py` does, once everything open has been finished. What is judged here is the
answers: an error that is neither a refusal of ours nor the injected kill is kept with its statement.
"""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
import psycopg

CARD: Final = "voice-outbound|flux-general-en|gpt-oss-120b|eleven_flash_v2_5|qwen-3-235b-a22b-instruct-2507|espeak-ng"
PERSONAS: Final = ("brad", "sarah", "alex")
TIERS: Final = ("free", "basic", "premium", "unlimited")
WORKER: Final = "hammer worker"
HOT_SHARE: Final = 0.3
RECONNECTS_MAX: Final = 200
RESTART: Final = "40001"
KILLED: Final = "57P01"

Connection = psycopg.Connection[Any]
# A call, and the hash of the body that asked for it.
Answer = tuple[str, bytes]


class Plan(msgspec.Struct, frozen=True):
    """How hard and how long; the same seed chooses the same operations, though not the same interleaving."""

    attempts: int
    seed: int
    workers: int = 16
    accounts: int = 30
    kill_every_s: float = 0.1
    crash_share: float = 0.01
    reap_every_s: float = 0.05


class Account(msgspec.Struct, frozen=True):
    """A person of the run. A strict one stays on its tier, and its own limit is only ever lowered below the tier's."""

    user_id: str
    phone: str
    tier: str
    is_strict: bool


class Book:
    """What the workers know together: requests to repeat, calls to touch again, and everything that went wrong."""

    def __init__(self, plan: Plan) -> None:
        self.lock = threading.Lock()
        self.left = plan.attempts
        self.counts: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.answers: dict[tuple[str, str], set[Answer]] = {}
        self.dialled: Counter[str] = Counter()
        self.requests: deque[tuple[Account, dict[str, Any]]] = deque(maxlen=200)
        self.recent: deque[tuple[str, str]] = deque(maxlen=60)
        self.batches: deque[dict[str, list[Any]]] = deque(maxlen=20)
        self.causes: deque[tuple[str, int, str, str]] = deque(maxlen=60)
        self.seqs: Counter[str] = Counter()
        self.over = threading.Event()

    def take(self) -> bool:
        """One attempt of those that are left."""
        with self.lock:
            self.left -= 1
            return self.left >= 0 and not self.unexpected

    def note(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def blame(self, statement: str, error: object) -> None:
        with self.lock:
            self.unexpected.append(f"{statement}: {error!r}")

    def answered(self, account: Account, key: str, answer: Answer) -> None:
        """Which call a key was answered with, and for which body; more than one is a double order."""
        with self.lock:
            self.answers.setdefault((account.user_id, key), set()).add(answer)

    def next_seq(self, call_id: str, step: int) -> int:
        """A number of a cumulative state; negative steps give old ones again."""
        with self.lock:
            now = max(1, self.seqs[call_id] + step)
            self.seqs[call_id] = max(self.seqs[call_id], now)
            return now


class Crashed(Exception):
    """The connection is gone in the middle of an operation: its outcome is unknown."""


class Hand:
    """One worker: a connection that is opened again when it was killed, and a choice of its own."""

    def __init__(self, dsn: str, book: Book, accounts: list[Account], plan: Plan, seed: int) -> None:
        self.dsn, self.book, self.accounts, self.plan = dsn, book, accounts, plan
        self.random = random.Random(seed)
        self.connection = self._connect()
        self.reconnects = 0
        self.numbers = 0
        self.name = f"{seed:x}"

    def _connect(self) -> Connection:
        return psycopg.connect(self.dsn, autocommit=True, application_name=WORKER, connect_timeout=10)

    def run(self, statement: str, params: Any = None) -> list[Any]:
        """One statement, alone or inside an explicit transaction that may crash or be rolled back in between."""
        try:
            if self.random.random() < 0.8:
                cursor = self.connection.execute(statement, params)
                return cursor.fetchall() if cursor.description else []
            return self._in_transaction(statement, params)
        except psycopg.Rollback as exc:
            # Killed before the rollback, which is one as well.
            raise Crashed from exc
        except psycopg.Error as exc:
            is_gone = self.connection.closed or exc.sqlstate == KILLED
            if not is_gone or exc.sqlstate not in (KILLED, None):
                self._judge(statement, exc)
            if is_gone:
                raise Crashed from exc
            return []

    def _in_transaction(self, statement: str, params: Any) -> list[Any]:
        crash_at = self.random.randrange(3) if self.random.random() < self.plan.crash_share * 5 else None
        with self.connection.transaction():
            if crash_at == 0:
                self.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            cursor = self.connection.execute(statement, params)
            rows = cursor.fetchall() if cursor.description else []
            if crash_at == 1:
                self.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            time.sleep(self.random.random() * 0.003)
            self.connection.execute("SELECT count(*) FROM subscription_tiers")
            if self.random.random() < 0.05:
                self.book.note("rolled back")
                raise psycopg.Rollback
            if crash_at == 2:
                self.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return rows
        return []

    def _judge(self, statement: str, exc: psycopg.Error) -> None:
        state = exc.sqlstate or ""
        if state.startswith("CM") or state == RESTART:
            self.book.note(state)
        else:
            self.book.blame(statement, exc)

    def work(self) -> None:
        """Take attempts until none is left. A crash is followed by the same operation again, half of the time."""
        operations = list(OPERATIONS)
        weights = [OPERATIONS[operation] for operation in operations]
        while self.book.take():
            hot = self.random.random() < HOT_SHARE
            account = self.accounts[0] if hot else self.random.choice(self.accounts)
            operation = self.random.choices(operations, weights)[0]
            self.attempt(operation, account)
        self.connection.close()

    def attempt(self, operation: "Operation", account: Account) -> None:
        try:
            operation(self, account)
            self.book.note(operation.__name__)
        except Crashed:
            self.book.note("crashed")
            self.reconnects += 1
            assert self.reconnects < RECONNECTS_MAX, "the server is gone"
            self.connection.close()
            self.connection = self._connect()
        except Exception as exc:
            self.book.blame(operation.__name__, exc)
            raise

    def fresh(self, prefix: str) -> str:
        """A name that nobody else gives."""
        self.numbers += 1
        return f"{prefix}_{self.name}_{self.numbers}"

    def open_call(self, account: Account) -> tuple[str, str] | None:
        """The account's open call or, in a third of all cases, one that others finish at this moment."""
        if self.book.recent and self.random.random() < 0.33:
            return self.random.choice(list(self.book.recent))
        rows = self.run("SELECT user_id, call_id FROM open_calls WHERE user_id = %s", (account.user_id,))
        return (rows[0][0], rows[0][1]) if rows else None


Operation = Callable[[Hand, Account], None]

START: Final = """
    SELECT call_id, replayed FROM start_call(
        %(call_id)s, %(user_id)s, %(persona)s, %(phone)s, %(card)s, %(day)s, %(seconds)s,
        p_idempotency_key => %(key)s, p_request_hash => %(hash)s
    )"""


def start(hand: Hand, account: Account) -> None:
    """A new order, an order repeated (now and then with another body), a day of another zone, a wrong number."""
    draw = hand.random.random()
    if draw < 0.25 and hand.book.requests:
        account, request = hand.random.choice(list(hand.book.requests))
        request = {**request, "call_id": hand.fresh("call")}
        if hand.random.random() < 0.2:
            request["hash"] = b"other"
    else:
        key = hand.fresh("key") if draw < 0.85 else None
        request = {
            "call_id": hand.fresh("call"),
            "user_id": account.user_id,
            "persona": hand.random.choice(PERSONAS),
            "phone": account.phone if hand.random.random() < 0.98 else "+12025550199",
            "card": CARD,
            "day": datetime.now(UTC).date() + timedelta(days=hand.random.choice((-1, 0, 0, 1))),
            "seconds": hand.random.choice((None, 9, 30, 61, 300, 100000)),
            "key": key,
            "hash": b"body" if key else None,
        }
        if key is not None:
            hand.book.requests.append((account, request))
    for call_id, replayed in hand.run(START, request):
        if request["key"] is not None:
            hand.book.answered(account, request["key"], (call_id, request["hash"]))
        hand.book.note("replayed" if replayed else "started")


def usage(call_id: str, seq: int) -> dict[str, Any]:
    """The cumulative state number `seq` of a call: always the same, and never less than the one before it."""
    pace = 1 + len(call_id) % 3 + int(call_id.rsplit("_", 1)[-1]) % 7
    return {
        "seconds": seq * pace,
        "listener": Decimal(seq * pace * 1013) / 1000,
        "tokens_in": seq * 911 * pace,
        "tokens_out": seq * 37,
        "characters": seq * 61,
        "fallback_in": seq // 3 * 401,
        "fallback_out": seq // 3 * 29,
        "local": seq // 5 * 83,
    }


METER: Final = """
    SELECT * FROM meter_calls(
        %(users)s, %(calls)s, %(seqs)s, %(seconds)s, %(listener)s, %(tokens_in)s, %(tokens_out)s, %(characters)s,
        %(fallback_in)s, %(fallback_out)s, %(local)s
    )"""


def meter(hand: Hand, account: Account) -> None:
    """A batch over several calls, in any order, with old states and states said twice; or a batch of before, again."""
    if hand.book.batches and hand.random.random() < 0.25:
        hand.run(METER, hand.random.choice(list(hand.book.batches)))
        return
    open_calls = hand.run("SELECT user_id, call_id FROM open_calls LIMIT 8") + list(hand.book.recent)[-2:]
    hand.random.shuffle(open_calls)
    batch: dict[str, list[Any]] = {"users": [], "calls": [], "seqs": [], **{name: [] for name in usage("call_1", 1)}}
    for user_id, call_id in open_calls + open_calls[:1]:
        seq = hand.book.next_seq(call_id, hand.random.choice((-2, 0, 1, 1, 2, 5)))
        for name, value in {"users": user_id, "calls": call_id, "seqs": seq, **usage(call_id, seq)}.items():
            batch[name].append(value)
    hand.book.batches.append(batch)
    hand.run(METER, batch)


def note_events(hand: Hand, account: Account) -> None:
    """Cost events of open calls and of calls that end meanwhile, from several processes."""
    calls = hand.run("SELECT user_id, call_id FROM open_calls LIMIT 6") + list(hand.book.recent)[-2:]
    hand.random.shuffle(calls)
    users, ids = [call[0] for call in calls], [call[1] for call in calls]
    hand.run("SELECT record_cost_events(%s, %s, %s)", (users, ids, hand.random.choice(("turn", "interval"))))


FINISH: Final = """
    SELECT settled, status, credits_used FROM finish_call(
        %(user_id)s, %(call_id)s, %(status)s, %(reason)s, %(seq)s, %(seconds)s, %(listener)s, %(tokens_in)s,
        %(tokens_out)s, %(characters)s, %(fallback_in)s, %(fallback_out)s, %(local)s, p_is_charged => %(charged)s
    )"""


def finish(hand: Hand, account: Account) -> None:
    """End a call, often from two sides, each with what it has counted."""
    found = hand.open_call(account)
    if found is None:
        return
    user_id, call_id = found
    hand.book.recent.append(found)
    seq = hand.book.next_seq(call_id, hand.random.choice((-3, 0, 1, 4)))
    status = hand.random.choice(("completed", "completed", "completed", "failed", "no_answer", "busy", "canceled"))
    params = {"user_id": user_id, "call_id": call_id, "status": status, "reason": "hung_up", "seq": seq}
    params |= usage(call_id, seq) | {"charged": hand.random.random() < 0.9}
    for settled, _, _ in hand.run(FINISH, params):
        hand.book.note("settled" if settled else "settled before")


def carrier(hand: Hand, account: Account) -> None:
    """What the carrier says: late, twice, out of order, of another call."""
    found = hand.open_call(account)
    if found is None:
        return
    statuses = ("queued", "ringing", "in-progress", "in-progress", "completed", "busy", "no-answer", "failed", "odd")
    sid = f"CA{found[1]}" if hand.random.random() < 0.95 else "CAother"
    hand.run(
        "SELECT * FROM carrier_event(%s, %s, 'status', %s, %s, %s, p_carrier_seconds => %s)",
        (*found, str(hand.random.randrange(12)), hand.random.choice(statuses), sid, hand.random.randrange(400)),
    )


def advance(hand: Hand, account: Account) -> None:
    """Our own steps, possible and impossible."""
    if (found := hand.open_call(account)) is not None:
        status = hand.random.choice(("calling", "connected", "in_progress", "completed"))
        hand.run("SELECT advance_call(%s, %s, %s, %s)", (*found, status, f"CA{found[1]}"))


def dial(hand: Hand, account: Account) -> None:
    """One of several diallers."""
    for _, call_id in hand.run("SELECT * FROM claim_dials('twilio', %s, %s)", (hand.name, hand.random.randrange(5))):
        with hand.book.lock:
            hand.book.dialled[call_id] += 1
            hand.book.counts["dialled"] += 1


def move(hand: Hand, account: Account) -> None:
    """Credits in and out during calls, refunds beyond what is left, and causes that come twice."""
    if hand.book.causes and hand.random.random() < 0.2:
        for (moved,) in hand.run(MOVE, hand.random.choice(list(hand.book.causes))):
            hand.book.note("moved" if moved else "moved before")
        return
    user_id = account.user_id
    if hand.random.random() < 0.4:
        user_id = next(
            (row[0] for row in hand.run("SELECT user_id FROM open_calls ORDER BY random() LIMIT 1")), user_id
        )
    amount = hand.random.choice((-100, -15, -3, -1, 2, 20, 60, 120, None, None))
    if amount is None:
        # To the last credit, so that the next call finds none.
        rows = hand.run("SELECT -available_credits FROM user_credits WHERE user_id = %s", (user_id,))
        amount = (rows and rows[0][0]) or 1
    kind = "refund" if amount < 0 else "purchase"
    params = (user_id, amount, kind, hand.fresh(f"{kind}:"))
    hand.book.causes.append(params)
    for (moved,) in hand.run(MOVE, params):
        hand.book.note("moved" if moved else "moved before")


MOVE: Final = "SELECT moved FROM move_credits(%s, %s, %s, %s)"


def change_limits(hand: Hand, account: Account) -> None:
    """Lower and raise limits, budgets and tiers while calls go on."""
    draw = hand.random.randrange(4)
    if draw == 0:
        calls_a_day = hand.random.choice((None, 0, 1, 2, 3) if account.is_strict else (None, 0, 50, 500))
        hand.run("UPDATE user_credits SET max_calls_per_day = %s WHERE user_id = %s", (calls_a_day, account.user_id))
    elif draw == 1:
        seconds = hand.random.choice((None, 60, 100, 14400))
        hand.run(
            "UPDATE user_credits SET max_call_duration_seconds = %s WHERE user_id = %s", (seconds, account.user_id)
        )
    elif draw == 2 and not account.is_strict:
        hand.run("SELECT set_tier(%s, %s)", (account.user_id, hand.random.choice((*TIERS, "premium", "unlimited"))))
    else:
        hand.run(
            "INSERT INTO user_budget_settings AS b (user_id, max_cost_per_call_cents, max_monthly_spend_cents,"
            " enable_auto_cutoff) VALUES (%s, %s, %s, %s) ON CONFLICT (user_id) DO UPDATE SET"
            " max_cost_per_call_cents = excluded.max_cost_per_call_cents,"
            " max_monthly_spend_cents = excluded.max_monthly_spend_cents,"
            " enable_auto_cutoff = excluded.enable_auto_cutoff",
            (
                account.user_id,
                hand.random.choice((0, 20, 200, 1000, 100000)),
                hand.random.choice((0, 5000, 1000000, 1000000)),
                hand.random.random() < 0.8,
            ),
        )


OPERATIONS: Final[dict[Operation, int]] = {
    start: 30, meter: 16, note_events: 6, finish: 20, carrier: 8, advance: 4, dial: 5, move: 8, change_limits: 3,
}  # fmt: skip


def reap(hand: Hand, account: Account) -> None:
    """A live reaper: calls grow old under its eyes, are leased, and settled to what was metered last."""
    hand.run(
        "UPDATE open_calls SET dial_before = now() - interval '1 hour', dial_claimed_at = now() - interval '1 hour'"
        " WHERE user_id IN (SELECT user_id FROM open_calls ORDER BY random() LIMIT 1)"
    )
    for row in hand.run("SELECT * FROM lease_stale_calls(3, '200 milliseconds')"):
        user_id, call_id = row[0], row[1]
        rows = hand.run(
            "SELECT settled FROM finish_call(%s, %s, 'completed', 'lost', p_connected_seconds => NULL)",
            (user_id, call_id),
        )
        hand.book.recent.append((user_id, call_id))
        hand.book.note("reaped" if rows and rows[0][0] else "reaped too late")


class Outcome(msgspec.Struct, frozen=True):
    """What happened; `answers` has the calls that each idempotency key was answered with."""

    counts: Counter[str]
    unexpected: list[str]
    answers: dict[tuple[str, str], set[Answer]]
    dialled: Counter[str]
    accounts: list[Account]
    seconds: float


def populate(connection: Connection, plan: Plan) -> list[Account]:
    """The accounts: the hot one first, then every tier in turn; some free and basic ones are strict."""
    accounts = []
    connection.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
    connection.execute("UPDATE dial_buckets SET calls_per_second = 5000, burst = 5000")
    for n in range(plan.accounts):
        tier = "premium" if n == 0 else TIERS[n % len(TIERS)]
        account = Account(f"user_{n}", f"+1202555{n:04}", tier, is_strict=n % 8 in (4, 5))
        connection.execute(
            "SELECT register_user(%s, %s, 'x', NULL, 'UTC', %s)",
            (account.user_id, f"{n}@example.org", account.phone),
        )
        connection.execute("UPDATE phones SET verified_at = now() WHERE user_id = %s", (account.user_id,))
        connection.execute("SELECT set_tier(%s, %s)", (account.user_id, tier))
        # The strict begin poor, so that some call finds no credits in every run, however short.
        credits = 2 if account.is_strict else 100
        connection.execute("SELECT move_credits(%s, %s, 'purchase', 'purchase:first')", (account.user_id, credits))
        accounts.append(account)

    return accounts


def hammer(dsn: str, plan: Plan) -> Outcome:
    """Run the plan, then finish what is open. The killer's and the watcher's connections are never killed."""
    book = Book(plan)
    with psycopg.connect(dsn, autocommit=True, application_name="hammer watcher") as watcher:
        accounts = populate(watcher, plan)
        hands = [Hand(dsn, book, accounts, plan, plan.seed * 1000 + n) for n in range(plan.workers + 1)]
        begun = time.monotonic()
        workers = [threading.Thread(target=hand.work) for hand in hands[1:]]
        others = [
            threading.Thread(target=_reap_on, args=(hands[0],)),
            threading.Thread(target=_kill_on, args=(dsn, book, plan)),
        ]
        for thread in workers + others:
            thread.start()
        for thread in workers:
            thread.join()
        book.over.set()
        for thread in others:
            thread.join()
        seconds = time.monotonic() - begun
        _finish_everything(watcher, book)

    return Outcome(book.counts, book.unexpected, book.answers, book.dialled, accounts, seconds)


def _reap_on(hand: Hand) -> None:
    while not hand.book.over.wait(hand.plan.reap_every_s):
        hand.attempt(reap, hand.accounts[0])
    hand.connection.close()


def _kill_on(dsn: str, book: Book, plan: Plan) -> None:
    """Kill a worker's backend at random, whatever it does at that moment."""
    with psycopg.connect(dsn, autocommit=True, application_name="hammer killer") as connection:
        while not book.over.wait(plan.kill_every_s):
            killed = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = %s ORDER BY random() LIMIT 1",
                (WORKER,),
            )
            if killed.rowcount:
                book.note("killed")


def _finish_everything(connection: Connection, book: Book) -> None:
    """Settle what is open, as the reaper would in the end."""
    for call in connection.execute("SELECT user_id, call_id FROM open_calls").fetchall():
        try:
            connection.execute("SELECT finish_call(%s, %s, 'completed', 'lost', p_connected_seconds => NULL)", call)
        except psycopg.Error as exc:
            book.blame("the last finish_call", exc)
