"""Calls at the same time: one session in several threads, several event loops in one thread."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

import firnline as fl
from conftest import read, write

LARGE = 100_000


def test_a_part_is_of_one_value_while_others_are_set(repo: fl.Repository) -> None:
    values = [bytes(range(100)), bytes(range(50, 250))]
    store = repo.writable_session("main").store
    store.set_sync("k", fl.buffer(values[0]))
    stop = threading.Event()

    def alternate() -> None:
        while not stop.is_set():
            for value in reversed(values):
                store.set_sync("k", fl.buffer(value))

    parts = [(0, None), (None, 150), (20, None), (90, 300)]
    expected = [
        values,
        [value[-150:] for value in values],
        [value[20:] for value in values],
        [value[90:] for value in values],
    ]
    thread = threading.Thread(target=alternate)
    thread.start()
    try:
        for _ in range(500):
            found = store._native.get_parts([("k", *part) for part in parts] * 50, False)
            for n, value in enumerate(found):
                assert bytes(value) in expected[n % len(parts)], parts[n % len(parts)]
    finally:
        stop.set()
        thread.join()


async def test_a_value_set_if_there_is_none_replaces_no_other(repo: fl.Repository) -> None:
    store = repo.writable_session("main").store
    keys = [f"c/{n}" for n in range(100)]
    # The value of the first call takes a while to be hashed; that of the second is staged at once.
    calls = ((store.set_if_not_exists(key, fl.buffer(b"default" * LARGE)), store.set(key, fl.buffer(b"set"))) for key in keys)
    await asyncio.gather(*(call for pair in calls for call in pair))
    for key in keys:
        assert await store.getsize(key) == 3, key


def test_loops_in_turn_share_no_queue_and_lose_none(repo: fl.Repository) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no /proc here")
    write(repo, {"large": b"1" * LARGE})
    session = repo.at("main")

    async def one() -> None:
        value = await session.store.get("large")
        assert value is not None and value.to_bytes() == b"1" * LARGE

    before = len(os.listdir("/proc/self/fd"))
    loops = [asyncio.new_event_loop() for _ in range(3)]
    try:
        for loop in loops:
            loop.run_until_complete(one())
        with_loops = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            for loop in loops:
                loop.run_until_complete(one())
        assert len(os.listdir("/proc/self/fd")) <= with_loops + 2 * len(loops)
    finally:
        for loop in loops:
            loop.close()
    # The queues of loops that are closed need nothing to be collected.
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert read(session, "large") == b"1" * LARGE
