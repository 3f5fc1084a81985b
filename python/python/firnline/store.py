"""The Zarr store over a session of a repository."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from firnline._firnline import Pending
from firnline.errors import InvalidError, MissingDataError, NotFoundError
from firnline.references import ReferenceMethods, result

if TYPE_CHECKING:
    from firnline._firnline import NativeSession
    from firnline.session import Session

__all__ = ["FirnlineStore", "buffer"]

_ABSENT = "{} is not in the store"

_DETACHED = (
    "this store was pickled without the fork that it writes to, so what is set here would be lost; "
    "send the fork, not its store, and merge it"
)


def _span(byte_range: ByteRequest | None) -> tuple[int | None, int | None]:
    """The start and end of a range as the native calls take it."""
    if byte_range is None:
        return None, None
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, byte_range.end
    if isinstance(byte_range, OffsetByteRequest):
        return byte_range.offset, None
    if isinstance(byte_range, SuffixByteRequest):
        return None, byte_range.suffix
    raise ValueError(f"Unexpected byte_range, got {byte_range}.")


def buffer(data: bytes | bytearray | memoryview) -> Buffer:
    """Make a buffer of bytes, as the store's methods take it.

    Parameters
    ----------
    data : bytes-like
        The bytes.

    Returns
    -------
    zarr.core.buffer.Buffer
        A buffer in main memory.
    """
    return default_buffer_prototype().buffer.from_bytes(data)


class FirnlineStore(ReferenceMethods, Store):
    """A `zarr.abc.store.Store` over the keys of a session.

    Get one from `Session.store` or `Repository.transaction`, and give it to Zarr, Xarray or any library that takes a
    Zarr store. It can be used with asyncio and, through the methods that end in ``_sync``, without. Threads may share it.

    Reading a key that does not exist gives ``None``. Everything else that keeps a value from being read raises: an
    external file that changed, is gone, cannot be reached or is not allowed, and damaged bytes. No such value is ever
    replaced by fill values.

    A store of a read-only session can be pickled. The other process opens the same snapshot. So can a store of a fork, which is
    then read-only: send the `ForkSession` to write in another process, and take its `store` there.

    Parameters
    ----------
    session : Session
        The session.
    read_only : bool, optional
        Refuse to write also through a writable session. Default: whether the session is read-only.
    """

    _session: Session
    # Whether this is the store of a fork that was pickled, so that nobody merges what is set here.
    _is_detached: bool

    def __init__(self, session: Session, *, read_only: bool | None = None) -> None:
        if read_only is False and session.read_only:
            raise ValueError("the session is read-only, so its store is; open a writable session")
        super().__init__(read_only=bool(read_only))
        self._session = session
        self._is_detached = False

    @property
    def _native(self) -> NativeSession:
        # Asked for anew each time: a fork that discards its changes goes on with another one.
        return self._session._native

    @property
    def session(self) -> Session:
        """The session whose keys these are."""
        return self._session

    # --- what the store can do ---------------------------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        """Whether nothing can be set: the store was made so, or its session is read-only, as it is after a commit."""
        return self._read_only or self._is_detached or self._session.read_only

    @property
    def supports_writes(self) -> bool:
        """Whether values can be set."""
        return not self.read_only

    @property
    def supports_deletes(self) -> bool:
        """Whether values can be deleted."""
        return not self.read_only

    @property
    def supports_listing(self) -> bool:
        """Always true."""
        return True

    @property
    def supports_partial_writes(self) -> Literal[False]:
        """Always false: a value is set as a whole."""
        return False

    @property
    def supports_consolidated_metadata(self) -> bool:
        """Always false: metadata lies in the manifest, so a copy of it in one key would only be able to differ from it."""
        return False

    def with_read_only(self, read_only: bool = False) -> FirnlineStore:
        """Make a store over the same session that refuses to write, or one that does not.

        Raises
        ------
        ValueError
            If `read_only` is false, and the session is read-only or this is the store of a fork that was pickled.
        """
        if self._is_detached and not read_only:
            raise InvalidError(_DETACHED)
        store = type(self)(self._session, read_only=read_only)
        store._is_detached = self._is_detached
        return store

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FirnlineStore):
            return NotImplemented
        return self.read_only == other.read_only and self._session == other._session

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<FirnlineStore of {self._session!r}>"

    def __str__(self) -> str:
        return f"firnline:{self._session._place}"

    def __getstate__(self) -> dict[str, Any]:
        # A session that cannot be pickled says why.
        is_detached = self._is_detached or not self._session.read_only
        return {"session": self._session, "read_only": self._read_only, "is_open": self._is_open, "is_detached": is_detached}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["session"], read_only=state["read_only"] or None)  # type: ignore[misc]
        self._is_open, self._is_detached = state["is_open"], state["is_detached"]

    # --- reading -----------------------------------------------------------------------------------------------------

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a value, or a part of it.

        Parameters
        ----------
        key : str
            The key.
        prototype : BufferPrototype, optional
            The kind of buffer to return. Default: Zarr's default.
        byte_range : ByteRequest, optional
            Which bytes to read. What lies past the end of the value is left out.

        Returns
        -------
        Buffer or None
            The bytes, without a copy; ``None`` when there is no such key.

        Raises
        ------
        MissingDataError, SourceChangedError, DeniedError, UnavailableError, CorruptError
            If the key exists and its bytes cannot be had.
        """
        start, end = _span(byte_range) if byte_range is not None else (None, None)
        value = self._native.get(key, start, end, True)
        if type(value) is Pending:
            try:
                value = await value.future
            except BaseException:
                value.cancel()
                raise
        if value is None:
            return None
        return (prototype or default_buffer_prototype()).buffer.from_bytes(value)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a value, or a part of it, on the calling thread. Like `get`."""
        start, end = _span(byte_range) if byte_range is not None else (None, None)
        value = self._native.get(key, start, end, False)
        if value is None:
            return None
        return (prototype or default_buffer_prototype()).buffer.from_bytes(value)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read many values or parts by one call, in their order.

        Neighbouring ranges of one chunk or file are read by one request.
        """
        parts = [(key, *_span(byte_range)) for key, byte_range in key_ranges]
        values = await result(self._native.get_parts(parts, True))
        return [None if value is None else prototype.buffer.from_bytes(value) for value in values]

    async def get_ranges(
        self,
        key: str,
        byte_ranges: Sequence[ByteRequest | None],
        *,
        prototype: BufferPrototype,
        max_concurrency: int = 10,
        max_gap_bytes: int = 1 << 20,
        max_coalesced_bytes: int = 16 << 20,
    ) -> AsyncGenerator[Sequence[tuple[int, Buffer | None]], None]:
        """Read many ranges of one value by one call, and give them as one batch.

        The engine joins neighbouring ranges by its own rules, so the last three parameters have no effect.

        Raises
        ------
        BaseExceptionGroup
            With a `FileNotFoundError` when there is no such key, as Zarr expects it, else with the error that kept the
            bytes from being read, which is never a `FileNotFoundError`.
        """
        if not byte_ranges:
            return
        try:
            buffers = await self.get_partial_values(prototype, [(key, byte_range) for byte_range in byte_ranges])
        except NotFoundError as error:
            # Whatever was not found, Zarr must not take it for a chunk that was never written.
            raise BaseExceptionGroup("ranges could not be read", [error._as(MissingDataError)]) from None
        except Exception as error:
            raise BaseExceptionGroup("ranges could not be read", [error]) from None
        if any(buffer is None for buffer in buffers):
            raise BaseExceptionGroup("ranges could not be read", [FileNotFoundError(_ABSENT.format(key))])
        yield list(enumerate(buffers))

    def get_ranges_sync(
        self,
        key: str,
        byte_ranges: Sequence[ByteRequest | None],
        *,
        prototype: BufferPrototype,
        max_gap_bytes: int = 1 << 20,
        max_coalesced_bytes: int = 16 << 20,
    ) -> Sequence[tuple[int, Buffer | None]]:
        """Read many ranges of one value on the calling thread. Like `get_ranges`."""
        try:
            values = self._native.get_parts([(key, *_span(byte_range)) for byte_range in byte_ranges], False)
        except NotFoundError as error:
            raise error._as(MissingDataError) from None
        if any(value is None for value in values):
            raise BaseExceptionGroup("ranges could not be read", [FileNotFoundError(_ABSENT.format(key))])
        return [(n, prototype.buffer.from_bytes(value)) for n, value in enumerate(values)]

    async def exists(self, key: str) -> bool:
        """Whether there is such a key. Reads no value."""
        return await result(self._native.size(key, True)) is not None

    async def getsize(self, key: str) -> int:
        """The length of a value in bytes. Reads no value.

        Raises
        ------
        FileNotFoundError
            If there is no such key.
        """
        size: int | None = await result(self._native.size(key, True))
        if size is None:
            raise FileNotFoundError(_ABSENT.format(key))
        return size

    async def getsize_prefix(self, prefix: str) -> int:
        """The sum of the lengths of all values below a directory, in bytes. Reads no value."""
        _, size = await result(self._native.size_below(prefix, True))
        return int(size)

    async def is_empty(self, prefix: str) -> bool:
        """Whether there is no key below a directory."""
        return bool(await result(self._native.is_empty(prefix, True)))

    async def list(self) -> AsyncIterator[str]:
        """All keys, sorted by their bytes."""
        for key in await result(self._native.list("", True)):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """The keys that begin with a text, sorted by their bytes."""
        for key in await result(self._native.list(prefix, True)):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """The names of keys and directories directly below a directory, sorted by their bytes."""
        for name in await result(self._native.list_dir(prefix, True)):
            yield name

    # --- writing -----------------------------------------------------------------------------------------------------

    def _check_writable(self) -> None:
        if self._is_detached:
            raise InvalidError(_DETACHED)
        if self._session.read_only and not self._read_only:
            raise InvalidError("the session is read-only; open a writable one")
        super()._check_writable()

    def _to_write(self, value: Buffer) -> Any:
        """The memory of a value. The native call copies it."""
        self._check_writable()
        if not isinstance(value, Buffer):
            raise TypeError(
                f"FirnlineStore.set(): `value` must be a Buffer instance. Got an instance of {type(value)} instead."
            )
        return value.as_numpy_array()

    async def set(self, key: str, value: Buffer) -> None:
        """Stage a value. It is copied, and visible to this session's readers at once.

        Waits while uploads take all of the room that they may (``upload_bytes`` of `Repository.open`).
        """
        await result(self._native.set(key, self._to_write(value), True))

    def set_sync(self, key: str, value: Buffer) -> None:
        """Stage a value on the calling thread. Like `set`."""
        self._native.set(key, self._to_write(value), False)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Stage a value unless there is one."""
        await result(self._native.set_if_absent(key, self._to_write(value), True))

    async def delete(self, key: str) -> None:
        """Stage the removal of a key. Does nothing when there is none."""
        self._check_writable()
        await result(self._native.delete(key, True))

    def delete_sync(self, key: str) -> None:
        """Stage the removal of a key on the calling thread. Like `delete`."""
        self._check_writable()
        self._native.delete(key, False)

    async def delete_dir(self, prefix: str) -> None:
        """Stage the removal of everything below a directory by one change. ``""`` and ``"/"`` are the root."""
        self._check_writable()
        await result(self._native.delete_dir("" if prefix == "/" else prefix, True))

    async def clear(self) -> None:
        """Stage the removal of every key."""
        await self.delete_dir("")
