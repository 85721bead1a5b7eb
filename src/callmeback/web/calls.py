"""Placing and ending a call as a whole, for the API and the pages alike."""

from callmeback import errors, logs
from callmeback.domain import calls, costs, credits, dials, phones
from callmeback.domain.calls import Call, CallOrder, Started
from callmeback.domain.dials import Connection, Ending
from callmeback.payments import payg
from callmeback.payments.checkout import Desk
from callmeback.pg.pool import Session
from callmeback.web.services import Services
from callmeback.web.session import Caller

_log = logs.get_logger(__name__)


async def place(services: Services, caller: Caller, order: CallOrder, idempotency_key: str | None = None) -> Call:
    """Place a call of this person, or raise what refuses it; see `domain.calls.place`.

    By credits, or, where none are left and the person wants that, by money that is set aside for this one call.
    """
    if services.draining:
        raise errors.Draining()
    regions = services.settings.allowed_regions
    number = None if order.phone_number is None else phones.normalise(order.phone_number, regions, field="phone_number")

    async def start(tx: Session, authorization_id: str | None = None) -> tuple[Started, Call]:
        started = await calls.place(
            tx,
            caller.user_id,
            order,
            phone_number=number or caller.user.phone,
            timezone=caller.user.timezone,
            card=costs.card_name(services.settings),
            idempotency_key=idempotency_key,
            authorization_id=authorization_id,
        )
        return started, await calls.call(tx, caller.user_id, started.call_id)

    try:
        try:
            async with caller.transaction() as tx:
                started, call = await start(tx)
        except errors.InsufficientCredits:
            desk = desk_of(services, caller)
            started, call = await payg.pay_call(desk, order.persona_id, calls.requested_seconds(order), start)
    except errors.DailyLimit as exc:
        raise errors.DailyLimit(retry_after=credits.seconds_to_midnight(caller.user.timezone)) from exc
    if not started.replayed:
        services.dialler.kick()

    return call


def desk_of(services: Services, caller: Caller) -> Desk:
    """Where this person pays."""
    return Desk(services.cashier, caller.transaction, caller.user_id, services.settings.base_url)


async def hang_up(services: Services, caller: Caller, call_id: str) -> Call:
    """End a call of this person, whatever it does; one that has ended is no error. Raises NotFound, CarrierFailed."""
    async with caller.transaction(read_only=True) as tx:
        call = await calls.call(tx, caller.user_id, call_id)
    if call.status not in calls.TERMINAL:
        async with services.voice.transaction(read_only=True) as tx:
            line = await dials.connection(tx, caller.user_id, call_id)
        if line is not None and line.is_open:
            await _end(services, line)
    async with caller.transaction(read_only=True) as tx:
        return await calls.call(tx, caller.user_id, call_id)


async def _end(services: Services, line: Connection) -> None:
    control = services.host.admission.live.get(line.call_id)
    if control is not None:
        # It says goodbye to the vendors, hangs up at the carrier and settles by itself.
        control.hang_up()
        return
    if line.carrier_sid is not None:
        await services.carrier.hang_up(line.carrier_sid)
    if line.status == "in_progress":
        # Another process has the talk: it sees the stream end, and settles.
        return
    # Before an answer the carrier's own callback may be faster than we are; it settles with the same two words.
    status, reason = ("canceled", "canceled") if line.answered_at is None else ("completed", "hang_up_requested")
    async with services.voice.transaction() as tx:
        await dials.finish(
            tx, line.user_id, line.call_id, Ending(status=status, end_reason=reason, connected_seconds=0)
        )
