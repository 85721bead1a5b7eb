"""What happens to money without a request: captures, times of grace, plans to end, promotions that expire."""

from datetime import UTC, datetime, timedelta
from typing import Final

from callmeback import errors, logs
from callmeback.domain import authorizations, payments, plans
from callmeback.domain.authorizations import Due
from callmeback.domain.plans import PlanWork
from callmeback.pg.pool import Database
from callmeback.pg.statements import Statement
from callmeback.providers import stripe, stripe_events
from callmeback.providers.failures import VendorRefused
from callmeback.providers.stripe import Cashier, Intent
from callmeback.providers.stripe_events import Event

_log = logs.get_logger(__name__)

BATCH_MAX: Final = 20
# One account a commit; what is left waits for the next round.
ACCOUNTS_MAX: Final = 500
AGAIN_AFTER: Final = timedelta(seconds=30)
LOOK_AGAIN_AFTER: Final = timedelta(hours=6)
TAKEN: Final = "succeeded"
LET_GO: Final = "canceled"


async def settle(db: Database, cashier: Cashier) -> int:
    """Take and let go what calls have set aside; answers how many were confirmed."""
    async with db.transaction() as tx:
        due = await authorizations.claim(tx, BATCH_MAX, AGAIN_AFTER)
    done = 0
    for one in due:
        try:
            done += await _settle(db, cashier, one)
        except errors.VendorFailed as exc:
            # It comes again by itself, later and later.
            _log.warning("settling_failed", authorization_id=one.id, state=one.state, error=exc.code)

    return done


async def _settle(db: Database, cashier: Cashier, due: Due) -> bool:
    intent = await _intent(cashier, due)
    if intent is None or intent.status == LET_GO:
        taken = 0
    elif intent.status == TAKEN:
        taken = intent.received_cents
    else:
        _log.warning("money_in_between", authorization_id=due.id, status=intent.status)
        return False
    async with db.transaction() as tx:
        state = await authorizations.finish(tx, due, taken, datetime.now(UTC))
    if state in ("wrong_amount", "failed"):
        _log.error("capture_failed", authorization_id=due.id, state=state)

    return state in ("captured", "released", "failed")


async def _intent(cashier: Cashier, due: Due) -> Intent | None:
    """The money after we have asked for its end; None where none was ever set aside."""
    name = due.payment_intent_id
    if name is None:
        found = await cashier.find_intent(due.customer_id, due.id, due.created_at)
        if found is None:
            return None
        name = found.id
    if due.state == "capturing":
        return await cashier.take(name, int(due.capture_cents), due.id)

    return await cashier.let_go(name, due.id)


async def look_after_plans(db: Database, cashier: Cashier) -> int:
    """End plans at the provider whose time is over, and ask about those of which nothing was heard; how many."""
    async with db.transaction() as tx:
        work = await plans.claim_work(tx, BATCH_MAX, LOOK_AGAIN_AFTER)
    done = 0
    for one in work:
        try:
            done += await _look_after(db, cashier, one)
        except errors.VendorFailed as exc:
            _log.warning("plan_work_failed", subscription_id=one.id, error=exc.code)

    return done


async def _look_after(db: Database, cashier: Cashier, work: PlanWork) -> bool:
    if work.is_cancel:
        await cashier.end_plan(work.stripe_subscription_id)
    now = datetime.now(UTC)
    try:
        facts = stripe_events.facts_of(await cashier.plan(work.stripe_subscription_id))
    except VendorRefused as exc:
        if exc.vendor_code != stripe.GONE:
            raise
        # A plan that the provider knows no longer is over.
        facts = {
            "kind": "subscription",
            "id": work.stripe_subscription_id,
            "subscription": work.stripe_subscription_id,
            "status": stripe_events.ENDED,
        }
    looked = Event(
        id=f"look_{work.id}_{int(now.timestamp())}",
        type=stripe_events.told_as(facts),
        created_at=now,
        facts=facts,
        payload={},
    )
    async with db.transaction() as tx:
        await payments.apply_event(tx, looked.id, looked.type, looked.created_at, looked.facts, looked.payload)

    return True


async def take_pages_away(db: Database, cashier: Cashier) -> int:
    """Nobody pays for an account that is gone: end the checkouts of people who were erased; how many."""
    async with db.transaction(read_only=True) as tx:
        left = await payments.erased_checkouts(tx, BATCH_MAX)
    done = 0
    for one in left:
        try:
            is_gone = await cashier.expire_checkout(one.session_id)
        except errors.VendorFailed as exc:
            _log.warning("checkout_not_ended", checkout_id=one.id, error=exc.code)
            continue
        # One that was paid before is told by its event.
        if is_gone:
            end = payments.fail_purchase if one.is_purchase else plans.expire_checkout
            async with db.transaction() as tx:
                await end(tx, one.user_id, one.id)
            done += 1

    return done


async def keep_accounts(db: Database) -> int:
    """End times of grace, expire promotions, close checkouts that nobody ended; answers how many of all."""
    done = 0
    for statement in (payments.SQL.end_grace, payments.SQL.expire_grants, payments.SQL.close_stale_checkouts):
        done += await _each(db, statement)

    return done


async def _each(db: Database, statement: Statement) -> int:
    for done in range(ACCOUNTS_MAX):
        async with db.transaction() as tx:
            if not await tx.value(statement, limit=1):
                return done

    return ACCOUNTS_MAX
