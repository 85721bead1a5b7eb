"""The peer: the field's usual house, FastAPI over asyncpg, answering GET /api/personas by the same statement.

Run by the peer's own interpreter as `peer_fastapi.py PORT DSN`: one process, uvicorn with uvloop and httptools, a pool
as large as ours, models that check what goes out. It opens no transaction, sets nobody's id, counts no metrics and
looks at no session, which ours does on every request.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
import uvicorn
from fastapi import FastAPI, Query, Request
from pydantic import BaseModel

POOL_MAX = 20
CATALOGUE = """
SELECT p.id, p.name, p.description, p.category, p.avatar_url
FROM personas AS p
WHERE p.is_active AND ($1::text IS NULL OR p.category = $1)
ORDER BY p.owner_user_id IS NOT NULL, p.created_at, p.id
LIMIT 200
"""


class Card(BaseModel):
    id: str
    name: str
    description: str | None
    category: str | None
    avatar_url: str | None


class Page(BaseModel):
    items: list[Card]
    next: str | None = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(sys.argv[2], min_size=1, max_size=POOL_MAX) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/personas")
async def personas(request: Request, category: Annotated[str | None, Query(max_length=50)] = None) -> Page:
    rows = await request.app.state.pool.fetch(CATALOGUE, category)
    return Page(items=[Card(**row) for row in rows])


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False,
        log_level="warning", server_header=False,
    )  # fmt: skip
