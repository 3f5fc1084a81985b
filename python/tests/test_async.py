"""The asynchronous methods on event loops: results at once and later, cancellation, loops that end."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

import numpy as np
import pytest
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

import firnline as fl
from conftest import read, write
from firnline._firnline import Pending

LARGE = 100_000


@pytest.fixture
def session(repo: fl.Repository) -> fl.Session:
    write(repo, {**{f"c/{n}": bytes([n]) * LARGE for n in range(50)}, "small": b"0123456789"})
    return repo.at("main")


async def test_small_values_are_there_at_once(session: fl.Session) -> None:
    session.store.get_sync("small")
    assert type(session._native.get("small", None, None, True)) is not Pending


async def test_many_reads_at_once(session: fl.Session) -> None:
    values = await asyncio.gather(*(session.store.get(f"c/{n}") for n in range(50)))
    assert [value.to_bytes() for value in values if value] == [bytes([n]) * LARGE for n in range(50)]
    assert await session.store.get("none") is None


async def test_parts(session: fl.Session) -> None:
    store, prototype = session.store, default_buffer_prototype()
    wanted = [
        ("small", RangeByteRequest(2, 4), b"23"),
        ("small", RangeByteRequest(8, 100), b"89"),
        ("small", RangeByteRequest(50, 100), b""),
        ("small", OffsetByteRequest(7), b"789"),
        ("small", OffsetByteRequest(70), b""),
        ("small", SuffixByteRequest(3), b"789"),
        ("small", SuffixByteRequest(30), b"0123456789"),
        ("small", None, b"0123456789"),
        ("c/1", RangeByteRequest(10, 12), b"\x01\x01"),
        ("none", RangeByteRequest(0, 1), None),
        ("a//b", None, None),
    ]
    together = await store.get_partial_values(prototype, [(key, part) for key, part, _ in wanted])
    for (key, part, expected), value in zip(wanted, together, strict=True):
        assert (None if value is None else value.to_bytes()) == expected, (key, part)
        for alone in (await store.get(key, prototype, part), store.get_sync(key, byte_range=part)):
            assert (None if alone is None else alone.to_bytes()) == expected, (key, part)
    batches = [batch async for batch in store.get_ranges("small", [RangeByteRequest(0, 1), None], prototype=prototype)]
    assert [(n, value.to_bytes()) for batch in batches for n, value in batch if value] == [
        (0, b"0"),
        (1, b"0123456789"),
    ]
    assert [b async for b in store.get_ranges("none", [], prototype=prototype)] == []
    with pytest.raises(BaseExceptionGroup) as absent:
        _ = [batch async for batch in store.get_ranges("none", [None], prototype=prototype)]
    assert isinstance(absent.value.exceptions[0], FileNotFoundError)
    with pytest.raises(BaseExceptionGroup):
        store.get_ranges_sync("none", [None], prototype=prototype)
    assert store.get_ranges_sync("small", [SuffixByteRequest(1)], prototype=prototype)[0][1].to_bytes() == b"9"  # type: ignore[union-attr]


async def test_a_cancelled_read_ends(tmp_path: Path) -> None:
    """A server that accepts a request and never answers sees the connection go away."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    repo = fl.Repository.create(tmp_path / "repo", allow={url: "private"})
    session = repo.writable_session("main")
    await session.store.set_virtual_ref_async("v", f"{url}f", offset=0, length=9, checksum="etag", validate_container=False)
    read_task = asyncio.create_task(session.store.get("v"))
    await asyncio.wait_for(asked.wait(), 60)
    read_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await read_task
    await asyncio.wait_for(gone.wait(), 60)
    server.close()
    await server.wait_closed()


async def test_reads_go_on_beside_those_that_are_cancelled(session: fl.Session) -> None:
    tasks = [asyncio.create_task(session.store.get(f"c/{n}")) for n in range(50)]
    await asyncio.sleep(0)
    for task in tasks[:25]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    # A read that was ready before it was cancelled gives its value.
    for n, value in enumerate(done):
        assert (n < 25 and isinstance(value, asyncio.CancelledError)) or value.to_bytes() == bytes([n]) * LARGE  # type: ignore[union-attr]


def test_every_loop_gets_its_own_results(session: fl.Session) -> None:
    async def some(first: int) -> list[bytes]:
        values = await asyncio.gather(*(session.store.get(f"c/{n}") for n in range(first, first + 10)))
        return [value.to_bytes() for value in values if value]

    results: dict[int, list[bytes]] = {}

    def loops(first: int) -> None:
        for _ in range(3):
            results[first] = asyncio.run(some(first))

    threads = [threading.Thread(target=loops, args=(first,)) for first in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {first: [bytes([n]) * LARGE for n in range(first, first + 10)] for first in (0, 10, 20, 30)}


def test_a_loop_that_is_closed_early_does_no_harm(session: fl.Session) -> None:
    for _ in range(5):
        loop = asyncio.new_event_loop()
        pending: list[Pending] = []

        async def begin(pending: list[Pending] = pending) -> None:
            pending.extend(session._native.get(f"c/{n}", None, None, True) for n in range(20))

        loop.run_until_complete(begin())
        loop.close()
        del loop
        pending.clear()
        gc.collect()
    assert read(session, "c/1") == b"\x01" * LARGE


def test_a_loop_and_its_queue_are_freed(session: fl.Session) -> None:
    """The queue of a loop holds the loop weakly, and the loop holds the queue."""
    import os

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no /proc here")
    asyncio.run(_one(session))
    gc.collect()
    before = descriptors()
    for _ in range(10):
        asyncio.run(_one(session))
    gc.collect()
    assert descriptors() <= before + 2


async def _one(session: fl.Session) -> None:
    assert await session.store.get("c/0") is not None


async def test_errors_reach_the_coroutine(repo: fl.Repository) -> None:
    store = repo.writable_session("main").store
    with pytest.raises(fl.InvalidError):
        await store.set("a//b", fl.buffer(b""))
    with pytest.raises(FileNotFoundError):
        await store.getsize("none")


async def test_values_are_copied_when_they_are_set(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    array = np.arange(LARGE, dtype="uint8")
    value = default_buffer_prototype().buffer.from_array_like(array)
    await session.store.set("a", value)
    expected = array.tobytes()
    array[:] = 0
    assert read(session, "a") == expected


async def test_values_are_read_without_a_copy_and_cannot_be_written(session: fl.Session) -> None:
    value = session._native.get("small", None, None, False)
    view = memoryview(value)
    assert view.readonly and bytes(view) == bytes(value) == b"0123456789" and len(value) == 10
    array = np.frombuffer(value, dtype="B")
    del value, view
    gc.collect()
    assert array.tobytes() == b"0123456789"
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


async def test_only_the_first_of_many_sets_if_there_is_none(repo: fl.Repository) -> None:
    store = repo.writable_session("main").store
    await asyncio.gather(*(store.set_if_not_exists("k", fl.buffer(bytes([n]) * LARGE)) for n in range(20)))
    value = await store.get("k")
    assert value is not None and len(set(value.to_bytes())) == 1
    await store.set_if_not_exists("k", fl.buffer(b"later"))
    assert await store.getsize("k") == LARGE


async def test_names_are_listed_by_their_bytes(repo: fl.Repository) -> None:
    store = repo.writable_session("main").store
    names = ["c/10", "c/9", "c/1/0", "cc", "c", "Z", "ä"]
    for name in names:
        await store.set(name, fl.buffer(b""))
    assert [key async for key in store.list()] == sorted(names)
    assert [key async for key in store.list_prefix("c")] == sorted(n for n in names if n.startswith("c"))
    assert [key async for key in store.list_prefix("c/1")] == ["c/1/0", "c/10"]
    assert [name async for name in store.list_dir("c")] == ["1", "10", "9"]
    assert [name async for name in store.list_dir("")] == ["Z", "c", "cc", "ä"]
    assert await store.getsize_prefix("c") == 0 and await store.is_empty("none") and not await store.is_empty("c")
    await store.delete_dir("c")
    assert [key async for key in store.list()] == ["Z", "c", "cc", "ä"]
    await store.clear()
    assert await store.is_empty("")
