"""Keys on a database with two people in it: Ann, whose key it may be, and Bob, whose rows it must not see."""

from collections.abc import Awaitable, Callable, Iterator

import msgspec
import psycopg
import pytest
from tests.conftest import Cluster

from callmeback.domain import keys
from callmeback.domain.keys import KeyLine, Limits
from callmeback.ops import scopes
from callmeback.ops.scopes import Workshop
from callmeback.pg import roles
from callmeback.pg.pool import Database

ANN, BOB = "user_ann", "user_bob"
NUMBERS = {ANN: "+12025550101", BOB: "+12025550102"}
CARD = "voice-outbound|flux-general-en|gpt-oss-120b|eleven_flash_v2_5|qwen-3-235b-a22b-instruct-2507|espeak-ng"


class Made(msgspec.Struct, frozen=True):
    """A key with its text, and the login of its role."""

    line: KeyLine
    token: str
    dsn: str

    @property
    def id(self) -> str:
        return self.line.id

    def login(self) -> psycopg.Connection:
        """A real session of the key's role, each statement its own transaction."""
        return psycopg.connect(self.dsn, autocommit=True)


MakeKey = Callable[..., Awaitable[Made]]


@pytest.fixture
def workshop(cluster: Cluster, database_url: str) -> Workshop:
    return workshop_of(cluster, database_url)


def workshop_of(cluster: Cluster, database_url: str) -> Workshop:
    """Who makes roles, in the database of this address."""
    name = database_url.rpartition("/")[2]

    return Workshop(f"{cluster.superuser_dsn.removesuffix('/callmeback')}/{name}", cluster.role_secret)


@pytest.fixture
def make_key(owner: Database, workshop: Workshop, database_url: str) -> MakeKey:
    return key_maker(owner, workshop, database_url)


def key_maker(owner: Database, workshop: Workshop, database_url: str) -> MakeKey:
    """Makes a key with these grants, as `callmeback keys create` does."""

    async def make(
        *,
        name: str = "test",
        mode: keys.Mode = "policy",
        reads: tuple[str, ...] = (),
        writes: tuple[str, ...] = (),
        calls: tuple[str, ...] = (),
        as_user: str | None = None,
        pii: bool = False,
        limits: Limits | None = None,
    ) -> Made:
        wanted = keys.scope(reads=reads, writes=writes, calls=calls, as_user_id=as_user, pii=pii)
        line, token = await scopes.establish(
            owner,
            workshop,
            wanted,
            lambda tx: keys.create(tx, wanted, name=name, mode=mode, limits=limits or Limits(), created_by="somebody"),
        )

        return Made(line, token, roles.dsn_for(line.role, workshop.secret, database_url))

    return make


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's hand; Ann and Bob each have one of everything, the call still open."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
        for who, number in NUMBERS.items():
            populate(connection, who, number)
        yield connection


def populate(connection: psycopg.Connection, who: str, number: str) -> None:
    short = who.removeprefix("user_")
    for statement, values in (
        ("SELECT register_user(%s, %s, 'hash', %s, 'UTC', %s)", (who, f"{short}@x.example", short, number)),
        ("UPDATE phones SET verified_at = now() WHERE user_id = %s", (who,)),
        ("UPDATE users SET phone = %s WHERE id = %s", (number, who)),
        ("SELECT move_credits(%s, 5, 'promotion', 'test:1')", (who,)),
        (
            "SELECT start_call(%s, %s, 'brad', %s, %s, (now() AT TIME ZONE 'UTC')::date, p_pretext => 'a reason')",
            (f"call_{short}", who, number, CARD),
        ),
        ("INSERT INTO transcripts VALUES (%s, %s, 0, 'user', 'private words', now())", (who, f"call_{short}")),
        ("INSERT INTO user_preferences (user_id, memory) VALUES (%s, 'likes tea')", (who,)),
        ("INSERT INTO user_budget_settings (user_id) VALUES (%s)", (who,)),
        ("INSERT INTO user_persona_relationships (user_id, persona_id) VALUES (%s, 'brad')", (who,)),
        (
            "INSERT INTO personas (id, owner_user_id, name, core_system_prompt) VALUES (%s, %s, 'P', 'a prompt')",
            (f"per_{short}", who),
        ),
        (
            "INSERT INTO call_scenario_templates (id, user_id, name, scenario_text) VALUES (%s, %s, 'S', 'a scene')",
            (f"scn_{short}", who),
        ),
        (
            "INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time)"
            " VALUES (%s, %s, 'brad', %s, now() + interval '1 day')",
            (f"sch_{short}", who, number),
        ),
        (
            "INSERT INTO payment_events (id, type, created_at, state, user_id, payload)"
            " VALUES (%s, 't', now(), 'ignored', %s, '{\"card\": \"4242\"}')",
            (f"evt_{short}", who),
        ),
        (
            "INSERT INTO one_time_tokens (token_hash, user_id, purpose, expires_at)"
            " VALUES (%s::text::bytea, %s, 'password_reset', now() + interval '1 hour')",
            (f"hash of {short}", who),
        ),
    ):
        connection.execute(statement, values)


def refusal(connection: psycopg.Connection, statement: str, *values: object) -> str | None:
    """The SQLSTATE that a statement is refused with; None when it is not."""
    try:
        connection.execute(statement, values or None)  # type: ignore[arg-type]  # the statements are ours
    except psycopg.Error as exc:
        return exc.sqlstate
    return None
