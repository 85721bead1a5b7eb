"""The simulator in a process of its own, as benchmarks start it."""

import asyncio
import os
import signal
import sys

import httpx
import pytest

from callmeback.providers.twilio import Carrier, CarrierConfig, Order

pytestmark = pytest.mark.anyio


async def test_it_says_where_it_is_and_takes_the_account_of_the_settings() -> None:
    sid, number = "AC" + "1" * 32, "+12025550188"
    account = {"TWILIO_ACCOUNT_SID": sid, "TWILIO_AUTH_TOKEN": "shared", "TWILIO_PHONE_NUMBER": number}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "callmeback.simulator", "--port", "0", "--ring-seconds", "0",
        stdout=asyncio.subprocess.PIPE, env=os.environ | account | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        base = line.split()[-1]
        carrier = Carrier(
            CarrierConfig(
                account_sid=sid,
                auth_token="shared",
                number=number,
                base_url=f"{base}/carrier",
            )
        )
        call = await carrier.place(Order(to="+12025550151", twiml="<Response/>"))
        async with httpx.AsyncClient() as client:
            for _ in range(100):
                seen = (await client.get(f"{base}/calls/{call.sid}")).json()
                if seen["status"] == "completed":
                    break
                await asyncio.sleep(0.05)
        await carrier.aclose()
    finally:
        process.send_signal(signal.SIGINT)
        code = await asyncio.wait_for(process.wait(), 15)

    assert base.endswith("/simulator")
    assert (seen["status"], seen["from"]) == ("completed", number)
    assert code == 0
