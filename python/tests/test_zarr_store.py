"""Zarr's own conformance tests of stores."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from zarr.core.buffer import Buffer, cpu
from zarr.testing.store import StoreTests

import firnline as fl


class TestFirnlineStore(StoreTests[fl.FirnlineStore, cpu.Buffer]):
    store_cls = fl.FirnlineStore
    buffer_cls = cpu.Buffer

    async def set(self, store: fl.FirnlineStore, key: str, value: Buffer) -> None:
        store._native.set(key, value.to_bytes(), False)

    async def get(self, store: fl.FirnlineStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes(store._native.get(key, None, None, False))

    @pytest.fixture
    def store_kwargs(self, tmp_path: Path) -> dict[str, Any]:
        return {"session": fl.Repository.create(tmp_path).writable_session("main")}

    def test_store_repr(self, store: fl.FirnlineStore) -> None:
        assert "FirnlineStore" in repr(store)
        assert "writable, main" in repr(store)
        assert str(store).startswith("firnline:/")

    def test_store_supports_writes(self, store: fl.FirnlineStore) -> None:
        assert store.supports_writes
        assert store.supports_deletes
        assert not store.supports_consolidated_metadata

    def test_store_supports_listing(self, store: fl.FirnlineStore) -> None:
        assert store.supports_listing

    async def test_serializable_store(self, store: fl.FirnlineStore) -> None:
        """Overridden: the store of a writable session is not pickled, because two copies would commit different changes."""
        with pytest.raises(fl.InvalidError, match=r"session\.fork\(\)"):
            pickle.dumps(store)
        await store.set("foo", self.buffer_cls.from_bytes(b"\x01\x02\x03\x04"))
        session = store.session
        session.commit("so that it can be pickled")
        reader = session.store
        again = pickle.loads(pickle.dumps(reader))
        assert again == reader
        assert again.read_only == reader.read_only
        observed = await again.get("foo")
        assert observed.to_bytes() == b"\x01\x02\x03\x04"
