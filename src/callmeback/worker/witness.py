"""The carrier as the reaper's witness: what the provider says, in the reaper's terms."""

from datetime import datetime

from callmeback.domain.reaping import Evidence
from callmeback.providers.failures import VendorRefused
from callmeback.providers.twilio import CODE_NOT_FOUND, Carrier, CarrierCall


class Witness:
    """Asks the carrier; a call that it doesn't know has ended."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    async def look(self, carrier_sid: str) -> Evidence:
        """The call of that id."""
        try:
            return _evidence(await self._carrier.fetch(carrier_sid))
        except VendorRefused as exc:
            if exc.vendor_code != CODE_NOT_FOUND:
                raise
            return Evidence(sid=None)

    async def find(self, phone_number: str, since: datetime) -> list[Evidence]:
        """Calls to that number since, the newest first."""
        return [_evidence(call) for call in await self._carrier.find(phone_number, since)]

    async def hang_up(self, carrier_sid: str) -> Evidence:
        """End it, and say how it stands then."""
        try:
            return _evidence(await self._carrier.hang_up(carrier_sid))
        except VendorRefused as exc:
            if exc.vendor_code != CODE_NOT_FOUND:
                raise
            return Evidence(sid=None)


def _evidence(call: CarrierCall) -> Evidence:
    return Evidence(sid=call.sid, status=call.status, ended=call.ended, duration_seconds=call.duration_seconds)
