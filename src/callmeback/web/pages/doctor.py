"""The operator's page of the doctor: what is wrong, where, and what to do. For admins alone; it changes nothing."""

from typing import Any, Final

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback.ops import doctor
from callmeback.web.pages import frame, surroundings
from callmeback.web.services import Services
from callmeback.web.session import Caller

# The worst first.
ORDER: Final = ("red", "warning", "skipped", "green")


@get("/admin/doctor")
async def show_doctor(
    request: Request[Any, Any, State],
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    area: FromQuery[str] = "",
) -> Response[Any]:
    """All areas, or one of them."""
    async with caller.admin_transaction():
        pass
    chosen = area if area in doctor.AREAS else None
    verdicts = await services.clinic.examine(chosen)
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)

    return frame.page(
        request,
        services,
        "doctor.html",
        caller=caller,
        place="doctor",
        surroundings=around,
        areas=list(doctor.AREAS),
        area=chosen,
        verdicts=sorted(verdicts, key=lambda verdict: ORDER.index(verdict.verdict)),
        counts={word: sum(verdict.verdict == word for verdict in verdicts) for word in ORDER},
    )


HANDLERS: Final = (show_doctor,)
