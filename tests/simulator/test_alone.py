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


async def test_payments_take_the_account_of_the_settings_and_a_seed() -> None:
    names = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "callmeback.simulator", "--seed", "7", "--webhook-url", "http://127.0.0.1:9/hook",
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"STRIPE_API_KEY": "sk_test_shared", "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            base = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().split()[-1]
            async with httpx.AsyncClient(auth=("sk_test_shared", "")) as client:
                made = await client.post(f"{base}/payments/v1/customers", data={"email": "ada@example.com"})
                endpoints = (await client.get(f"{base}/payments/v1/webhook_endpoints")).json()["data"]
        finally:
            process.send_signal(signal.SIGINT)
            code = await asyncio.wait_for(process.wait(), 15)
        names.append((code, made.json()["id"], [endpoint["url"] for endpoint in endpoints]))

    assert names[0] == names[1]
    assert names[0][::2] == (0, ["http://127.0.0.1:9/hook"])
