"""The metering batch: one write a second, repeated until it is kept, and its answer back to each call."""

import asyncio
from decimal import Decimal

from tests.voice.line import Call, now, ticket_of, virtually

from callmeback.errors import DatabaseUnavailable
from callmeback.voice.batcher import ROWS_PER_WRITE_MAX, MeterBatcher, MeterLimit
from callmeback.voice.meter import Usage, cost
from callmeback.voice.ticket import Limits


class Database:
    """Keeps what was written, by the rule of the real one: a newer sequence replaces an older."""

    def __init__(self):
        self.rows = {}
        self.writes = []
        self.down = False
        self.hangs = False
        self.answers = {}

    async def write(self, rows):
        if self.hangs:
            await asyncio.sleep(3600)
        if self.down:
            raise DatabaseUnavailable
        self.writes.append((now(), len(rows)))
        for row in rows:
            if row.sequence > self.rows.get(row.call_id, row).sequence or row.call_id not in self.rows:
                self.rows[row.call_id] = row
        return [self.answers.get(row.call_id, MeterLimit(row.call_id, True, Decimal(100), 600)) for row in rows]


def usage_of(seconds):
    return Usage(carrier_seconds=seconds)


def test_all_live_calls_are_written_by_one_statement_a_second_and_get_their_limits(card):
    async def story():
        database = Database()
        batcher = MeterBatcher(database.write)
        slots = [batcher.open("u", f"call_{index}") for index in range(30)]
        task = asyncio.create_task(batcher.run())
        for second in range(1, 11):
            for slot in slots:
                slot.put(second, usage_of(second), cost(usage_of(second), card))
            await asyncio.sleep(1)
        task.cancel()
        return database, slots

    database, slots = virtually(story())

    assert all(count == 30 for _, count in database.writes)
    assert 10 <= len(database.writes) <= 13
    assert {row.sequence for row in database.rows.values()} == {10}
    assert all(slot.limits == Limits(Decimal(100), 600) for slot in slots)


def test_a_state_is_written_within_a_second_of_being_put(card):
    async def story():
        database = Database()
        batcher = MeterBatcher(database.write)
        slot = batcher.open("u", "call_1")
        task = asyncio.create_task(batcher.run())
        delays = []
        for sequence in range(1, 40):
            await asyncio.sleep(0.37)
            put_at = now()
            slot.put(sequence, usage_of(sequence), cost(usage_of(sequence), card))
            while "call_1" not in database.rows or database.rows["call_1"].sequence < sequence:
                await asyncio.sleep(0.01)
            delays.append(now() - put_at)
        task.cancel()
        return delays

    assert max(virtually(story())) < 1.0


def test_what_a_lost_database_missed_is_repeated_by_the_next_write(card):
    async def story():
        database = Database()
        batcher = MeterBatcher(database.write)
        slot = batcher.open("u", "call_1")
        task = asyncio.create_task(batcher.run())
        slot.put(1, usage_of(1), cost(usage_of(1), card))
        await asyncio.sleep(1)
        database.down = True
        slot.put(2, usage_of(2), cost(usage_of(2), card))
        await asyncio.sleep(3)
        failures = batcher.failures_in_row
        database.down, database.hangs = False, True
        await asyncio.sleep(8)
        database.hangs = False
        await asyncio.sleep(6)
        task.cancel()
        return database, failures, batcher.failures_in_row

    database, failures, at_end = virtually(story())

    assert database.rows["call_1"].sequence == 2
    assert failures >= 3
    assert at_end == 0


def test_an_unchanged_or_closed_call_is_not_written(card):
    async def story():
        database = Database()
        batcher = MeterBatcher(database.write)
        slot, other = batcher.open("u", "call_1"), batcher.open("u", "call_2")
        slot.put(1, usage_of(1), cost(usage_of(1), card))
        other.put(1, usage_of(1), cost(usage_of(1), card))
        other.close()
        other.close()
        await batcher.write_all()
        await batcher.write_all()
        return database

    database = virtually(story())

    assert [count for _, count in database.writes] == [1]
    assert list(database.rows) == ["call_1"]


def test_a_great_many_calls_are_written_in_several_statements(card):
    async def story():
        database = Database()
        batcher = MeterBatcher(database.write)
        for index in range(ROWS_PER_WRITE_MAX + 5):
            batcher.open("u", f"call_{index}").put(1, usage_of(1), cost(usage_of(1), card))
        await batcher.write_all()
        return database

    assert [count for _, count in virtually(story()).writes] == [ROWS_PER_WRITE_MAX, 5]


def test_a_call_that_somebody_else_settled_is_ended(card):
    async def story():
        database = Database()
        batcher = MeterBatcher(database.write)
        slot = batcher.open("user_1", "call_1")
        call = Call(ticket_of(card))
        call.books.meter = slot.put
        call.books.limits = lambda: slot.limits
        task = asyncio.create_task(batcher.run())

        async def person(call):
            await asyncio.sleep(5)
            database.answers["call_1"] = MeterLimit("call_1", False, Decimal(100), 600)

        try:
            return await call.run(person)
        finally:
            task.cancel()

    outcome = virtually(story())

    assert outcome.end_reason == "time_limit"
    assert 5 <= outcome.duration_seconds <= 8
