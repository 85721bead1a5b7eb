"""The peer: a webhook as guides write it, in the same framework and over the same driver, with tables of its own.

Signature by the vendor's library; then look whether the event was seen, add the credits, write the ledger row, mark the
purchase, remember the event: statements that commit one by one. Two deliveries at once both pass the look.
"""

import sys

import stripe
import uvicorn
from litestar import Litestar, Request, post
from psycopg_pool import AsyncConnectionPool

POOL_MAX = 8


def main() -> None:
    """`peer_naive.py PORT DSN SECRET`."""
    port, dsn, secret = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    pool = AsyncConnectionPool(dsn, kwargs={"autocommit": True}, max_size=POOL_MAX, open=False)

    @post("/webhooks/stripe", status_code=200)
    async def webhook(request: Request) -> dict:
        event = stripe.Webhook.construct_event(await request.body(), request.headers["stripe-signature"], secret)
        session = event.data.object
        async with pool.connection() as db:
            seen = await db.execute("SELECT 1 FROM naive_events WHERE id = %s", (event.id,))
            if await seen.fetchone() or session.payment_status != "paid":
                return {"received": True}
            found = await db.execute(
                "SELECT user_id, credits FROM naive_purchases WHERE id = %s", (session.metadata["reference"],)
            )
            user, credits_ = await found.fetchone()
            await db.execute("UPDATE naive_users SET credits = credits + %s WHERE id = %s", (credits_, user))
            await db.execute(
                "INSERT INTO naive_transactions (user_id, amount, reference) VALUES (%s, %s, %s)",
                (user, credits_, session.metadata["reference"]),
            )
            await db.execute(
                "UPDATE naive_purchases SET status = 'completed' WHERE id = %s", (session.metadata["reference"],)
            )
            await db.execute("INSERT INTO naive_events (id) VALUES (%s) ON CONFLICT DO NOTHING", (event.id,))
        return {"received": True}

    async def start() -> None:
        await pool.open()

    uvicorn.run(
        Litestar([webhook], on_startup=[start], on_shutdown=[pool.close], openapi_config=None, logging_config=None),
        host="127.0.0.1", port=port, log_level="warning", access_log=False, loop="uvloop",
    )  # fmt: skip


if __name__ == "__main__":
    main()
