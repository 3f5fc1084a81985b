"""`firn://`: a read-only filesystem of fsspec over one revision of a repository.

Keys are paths, so tools that read files by URL read documents and chunks of any version:

>>> import fsspec
>>> fsspec.open("firn:///data/era5@main@2025-03-01/air/zarr.json")  # doctest: +SKIP

Three ways to say which repository and which revision:

- in the URL: ``firn://REPOSITORY@REVISION/KEY``, where REPOSITORY is an absolute path or a URL
  (``firn:///data/era5@main/air/zarr.json``, ``firn://s3://bucket/era5@v1.0/air/zarr.json``). The first ``@`` ends
  the repository and the next ``/`` the revision; write ``%40`` for an ``@`` in the repository and ``%2F`` for a ``/``
  in the revision. Without ``@REVISION`` nothing would separate repository and key, so it is needed in this form.
- chained, as fsspec does it: ``firn://KEY::file:///data/era5``, with the revision in front of the key
  (``firn://@v1.0/KEY::s3://bucket/era5``) or as an option;
- as options: ``fsspec.filesystem("firn", repository="/data/era5", revision="v1.0")``.

The revision is resolved once, when the filesystem object is made, and stays what it was: a copy of the object in
another process reads the same snapshot. The default is ``main``. A method that is given a whole URL reads what the URL
says, also where that is another repository or revision.

Zarr and xarray open such URLs as well: ``xarray.open_zarr("firn:///data/era5@v1.0", consolidated=False)``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

__all__ = ["FirnFileSystem"]

#: Values up to this size are read at once when they are opened.
WHOLE = 8 << 20

_PROTOCOL = "firn://"
_PLACE = re.compile(r"^(?:/|[A-Za-z][A-Za-z0-9+.-]*:)")


class FirnFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """One revision of a repository, read-only.

    Parameters
    ----------
    repository
        Where the repository lies: a path or URL, as for `firnline.Repository.open`.
    revision
        A branch, tag, snapshot id or ``BRANCH@TIME``. Default: ``"main"``.
    fo, target_protocol
        What fsspec passes for a chained URL.
    target_options
        Options for the repository's own filesystem. Firnline reads the repository itself, so none is understood, and any
        other than none is refused.
    allow
        Places that virtual data may be read from, as for `firnline.Repository.open`.
    """

    protocol = "firn"
    root_marker = ""
    # An object holds one snapshot for good; a cached one would never see a new commit.
    cachable = False

    def __init__(
        self,
        repository: str | None = None,
        revision: str | None = None,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        allow: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if target_options:
            raise ValueError(
                f"firn:// opens the repository itself and understands none of the options {sorted(target_options)}"
            )
        if repository is None and fo is not None:
            local = target_protocol in (None, "file", "local")
            repository = fo if local or "://" in fo else f"{target_protocol}://{fo}"
        self.repository = repository
        self.revision = revision or "main"
        self.allow = dict(allow or {})
        self.snapshot_id: str | None = None
        self._others: dict[tuple[str, str], FirnFileSystem] = {}
        if repository is not None:
            import firnline

            opened = firnline.Repository.open(repository, allow=self.allow or None, read_only=True)
            # A path is absolute here, so that a copy in a process with another working directory finds the repository.
            self.repository = opened.url
            session = opened.at(self.revision)
            self.snapshot_id, self._native = session.snapshot_id, session.store._native

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (type(self), self.repository, self.snapshot_id, self.allow)

    def _meant(self, path: str) -> tuple[FirnFileSystem, str]:
        """The filesystem and the key that a path means: a whole URL means its own repository and revision, whoever is asked."""
        repository, revision, key = _split(str(path))
        place = repository or self.repository
        if place is None:
            raise ValueError(
                "firn:// needs a repository: firn://REPOSITORY@REVISION/KEY, firn://KEY::REPOSITORY, or repository="
            )
        key = key.strip("/")
        if place == self.repository and revision in (None, self.revision, self.snapshot_id):
            return self, key
        name = (place, revision or "main")
        if name not in self._others:
            self._others[name] = type(self)(repository=place, revision=revision, allow=self.allow)
        return self._others[name], key

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return _split(str(path))[2].strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        repository, revision, _ = _split(path)
        found = {"repository": repository, "revision": revision}
        return {name: value for name, value in found.items() if value is not None}

    def unstrip_protocol(self, name: str) -> str:
        meant, key = self._meant(name)
        return f"{_PROTOCOL}{str(meant.repository).replace('@', '%40')}@{meant.snapshot_id}/{key}"

    @property
    def fsid(self) -> str:
        return f"firn-{self.snapshot_id}"

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        meant, key = self._meant(path)
        size = meant._native.size(key, False) if key else None
        if size is not None:
            return {"name": key, "size": size, "type": "file", "snapshot": meant.snapshot_id}
        if meant._is_directory(key):
            return {"name": key, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether there is a key or a directory. Raises what keeps that from being known, such as a damaged repository."""
        return self.isfile(path) or self.isdir(path)

    def isfile(self, path: str) -> bool:
        """Whether there is a key. Raises like `exists`."""
        meant, key = self._meant(path)
        return bool(key) and meant._native.size(key, False) is not None

    def isdir(self, path: str) -> bool:
        """Whether there is a directory. Raises like `exists`."""
        meant, key = self._meant(path)
        return meant._is_directory(key) and not self.isfile(path)

    def _is_directory(self, key: str) -> bool:
        return not key or bool(self._native.list_dir(key, False))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        meant, key = self._meant(path)
        names = meant._native.list_dir(key, False)
        # A file lists itself.
        keys = [f"{key}/{name}" if key else name for name in names] or [key] * bool(key)
        found = [meant.info(one) for one in keys]
        return found if detail else [one["name"] for one in found]

    def find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any) -> Any:
        if maxdepth is not None or withdirs:
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **kwargs)
        meant, key = self._meant(path)
        names = [key] if meant.isfile(key) else meant._native.list(f"{key}/" if key else "", False)
        return {name: meant.info(name) for name in names} if detail else names

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        meant, key = self._meant(path)
        size = meant._native.size(key, False)
        if size is None:
            raise FileNotFoundError(path)
        begin, stop, _ = slice(start, end).indices(size)
        value = meant._native.get(key, begin, max(begin, stop), False)
        if value is None:
            raise FileNotFoundError(path)
        return bytes(value)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **kwargs: Any) -> Any:
        if mode != "rb":
            raise OSError(f"firn:// is read-only, and {path!r} cannot be opened with mode {mode!r}")
        meant, key = self._meant(path)
        size = meant._native.size(key, False)
        if size is None:
            raise FileNotFoundError(path)
        if size <= WHOLE:
            return io.BytesIO(meant.cat_file(key))
        return _ValueFile(meant, key, mode, block_size or self.blocksize, size=size, **kwargs)


class _ValueFile(AbstractBufferedFile):  # type: ignore[misc]
    """A large value, read in blocks."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.cat_file(self.path, start, end))


def _reopened(cls: type[FirnFileSystem], repository: str | None, snapshot: str | None, allow: dict[str, Any]) -> FirnFileSystem:
    return cls(repository=repository, revision=snapshot, allow=allow)


def _split(url: str) -> tuple[str | None, str | None, str]:
    """Repository, revision and key of a URL; what is no URL is a key."""
    if not url.startswith(_PROTOCOL):
        return None, None, url
    rest = url.removeprefix(_PROTOCOL)
    if not (rest.startswith("@") or _PLACE.match(rest)) or "@" not in rest:
        return None, None, rest
    place, _, rest = rest.partition("@")
    revision, _, key = rest.partition("/")
    return unquote(place) or None, unquote(revision) or None, key
