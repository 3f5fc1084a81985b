"""Repositories: opening them, their versions, branches and tags, and what keeps them healthy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

from firnline._firnline import NativeRepository
from firnline.branches import BranchMethods
from firnline.containers import ContainerMethods
from firnline.credentials import Credentials
from firnline.dependencies import DependencyMethods
from firnline.errors import InvalidError
from firnline.external import ExternalMethods
from firnline.health import HealthMethods
from firnline.history import HistoryMethods, Time, time_text
from firnline.imports import ImportMethods
from firnline.kerchunk import KerchunkMethods
from firnline.refs import RefMethods
from firnline.retention import RetentionMethods
from firnline.session import OnConflict, OnConflictBelow, Session, _commit_arguments
from firnline.store import FirnlineStore
from firnline.sync import SyncMethods

__all__ = ["Repository"]

# What the engine takes for an id or for its beginning, and never for the name of a branch or tag.
_ID = re.compile(r"bafyr[e4]i[a-z0-9]{6,}", re.IGNORECASE)

Place = str | os.PathLike[str]
StorageCredentials = Literal["named", "anonymous", "machine"]
Allow = Mapping[str, str] | Iterable[str]


def _absolute(place: Place) -> str:
    """A place that means the same in a process with another working directory."""
    text = os.fspath(place)
    head = text.split("/", 1)[0]
    if not text or ":" in head:
        return text
    return os.path.abspath(text)


def _entries(allow: Allow | str | None) -> list[str]:
    """Allowed places as the engine reads them: ``URL`` or ``URL=words``."""
    if allow is None:
        return []
    if isinstance(allow, str):
        return [allow]
    if isinstance(allow, Mapping):
        return [f"{url}={words}" if words else url for url, words in allow.items()]
    return list(allow)


def _rebinds(rebind: Mapping[str, str | tuple[str, bool]] | None) -> list[tuple[str, str, bool]]:
    """Where containers were put elsewhere: name, template, whether bytes are taken that nothing proves."""
    rebinds = []
    for name, to in (rebind or {}).items():
        template, accept = (to, False) if isinstance(to, str) else to
        rebinds.append((name, template, accept))
    return rebinds


def _named(credentials: Mapping[str, Credentials] | None) -> list[tuple[str, Credentials]]:
    """Credentials by name."""
    if credentials is not None and not isinstance(credentials, Mapping):
        raise InvalidError(
            "credentials are a mapping from names to firnline.Credentials; which credentials reach the repository itself is "
            "said by storage_credentials"
        )
    for name, one in (credentials or {}).items():
        if not isinstance(one, Credentials):
            raise InvalidError(f"credentials {name!r} are no firnline.Credentials")
    return [*(credentials or {}).items()]


class _Variables(dict[str, str]):
    """Settings and credentials by name, of which the names are printed."""

    def __repr__(self) -> str:
        return f"<values of {', '.join(self)}>"


def _native_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options as the native calls take them."""
    return {**options, "credentials": [(name, one._native) for name, one in options["credentials"]]}


def _to_pickle(options: dict[str, Any], share_secrets: bool) -> dict[str, Any]:
    """The options as a pickle holds them: without secrets, unless these are shared."""
    travels = [(name, one._described()) for name, one in options["credentials"] if share_secrets or not one._holds_secrets]
    held = {**options, "credentials": travels, "names_all": len(travels) == len(options["credentials"])}
    return held if share_secrets else {**held, "variables": None}


class Repository(
    RefMethods,
    BranchMethods,
    SyncMethods,
    HistoryMethods,
    RetentionMethods,
    DependencyMethods,
    ExternalMethods,
    ContainerMethods,
    KerchunkMethods,
    HealthMethods,
    ImportMethods,
):
    """A repository: versions of a set of keys, and branches and tags that name some of them.

    Make one by `create`, `open` or `open_or_create`. Threads may share it. It can be pickled; the other process opens
    it again.

    All methods wait for their result, and give up the interpreter's lock meanwhile. In a coroutine call them by
    `asyncio.to_thread`. Ctrl-C ends a call.

    A *revision* is the name of a branch or of a tag, the id of a snapshot or the beginning of one, ``REV~N`` (N commits
    before) or ``REV@TIME`` (what a reader saw at that time), such as ``"main@2025-03-01"`` or ``"main@2 days ago"``.

    See Also
    --------
    firnline.Session, firnline.FirnlineStore
    """

    def __init__(self, native: NativeRepository, url: str, options: dict[str, Any], share_secrets: bool) -> None:
        self._native = native
        self._url = url
        self._options = options
        self._share_secrets = share_secrets

    # --- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, url: Place, *, hash: str = "sha2-256", **options: Any) -> Repository:
        """Make a repository with a branch ``main``, and open it.

        Parameters
        ----------
        url : str or path
            A directory; ``s3://BUCKET/PREFIX``, ``gs://…``, ``az://…``; or ``memory:`` for one in memory.
        hash : {"sha2-256", "blake3"}, optional
            The hash of every id, for ever.
        **options
            As for `open`.

        Raises
        ------
        ConflictError
            If there is a repository already.
        """
        place, arguments, share = _arguments(url, **options)
        return cls(NativeRepository.create(place, hash, _native_options(arguments)), place, arguments, share)

    @classmethod
    def open(
        cls,
        url: Place,
        *,
        allow: Allow | str | None = None,
        rebind: Mapping[str, str | tuple[str, bool]] | None = None,
        read_only: bool = False,
        cache_bytes: int | None = None,
        staged_bytes: int | None = None,
        upload_bytes: int | None = None,
        scratch: Place | None = None,
        credentials: Mapping[str, Credentials] | None = None,
        config: bool | Place | None = None,
        gap_bytes: int | None = None,
        longest_bytes: int | None = None,
        requests_per_host: int | None = None,
        patience: float | timedelta | None = None,
        storage_credentials: StorageCredentials | None = None,
        variables: Mapping[str, str] | None = None,
        share_secrets: bool = False,
        network_file_systems: bool = False,
    ) -> Repository:
        """Open a repository.

        Parameters
        ----------
        url : str or path
            As for `create`; also the ``http://`` or ``https://`` URL of one, to read.
        allow : mapping, iterable of str or str, optional
            The places from which external files may be read: ``{"s3://noaa/": "anonymous", "file:///data/": ""}``. The
            value says how: ``"anonymous"``, ``"env"`` (with the credentials of the environment), ``"as:NAME"`` (with those that
            `credentials` or the configuration file defines under this name; ``"as:repository"``: with those of the repository
            itself), ``"private"`` (also at addresses that are not public), ``"unpinned"`` (also files of which nothing is
            recorded that would show a change), ``"at:URL"`` (at this server), joined by ``+``. Default: none. The environment
            variable ``FIRN_ALLOW`` adds to them.
        rebind : mapping, optional
            Where an archive has moved: other places for containers, by name, for all versions. A template with as many
            placeholders as the container's, or a URL that ends in ``/``, which replaces the container's template up to the last
            ``/`` before its first placeholder. Or a pair of that, and whether to take bytes that nothing proves to be the
            committed ones. The new place must be allowed too. The environment variable ``FIRN_REBIND`` adds to them.
        read_only : bool, optional
            Refuse every call that would change the repository.
        cache_bytes : int, optional
            How many bytes of decoded nodes are kept in memory, roughly. Default: 64 MiB.
        staged_bytes : int, optional
            How many bytes of staged changes a session keeps in memory, roughly; what is more goes to a scratch file.
            Default: 64 MiB.
        upload_bytes : int, optional
            How many bytes a session holds for uploads at once. Default: 256 MiB.
        scratch : path, optional
            The directory of scratch files. Default: ``TMPDIR``, else ``/tmp``.
        credentials : mapping, optional
            `Credentials` for places with external files, by the names that entries of `allow` give them.
        config : bool or path, optional
            The configuration file with allowed places, moved archives, credentials and options of reading: a path, that of the
            user (``True``: ``FIRN_CONFIG``, else ``firnline/config.toml`` in the user's configuration directory) or none
            (``False``). Default: that of the user, unless `variables` are given. Arguments go before it.
        gap_bytes : int, optional
            Read ranges of one file by one request where at most so many bytes lie between them. Default: 64 KiB.
        longest_bytes : int, optional
            Ask for at most so many bytes by one request; longer ranges are read in parts at once. Default: 16 MiB.
        requests_per_host : int, optional
            Send at most so many requests at once to one server with external files. Default: 32.
        patience : float or datetime.timedelta, optional
            The deadline of a request to a server with external files, with all its repetitions, in seconds. Default: a minute.
        storage_credentials : {"named", "anonymous", "machine"}, optional
            Which credentials requests to the object store of the repository itself carry: those that variables name, none, or
            also those of the machine's metadata service. Default: what ``FIRN_CREDENTIALS`` says, else ``"named"``.
        variables : mapping, optional
            Settings and credentials of object stores, under the names of the environment variables of the vendors' tools
            (``AWS_ACCESS_KEY_ID``, …). Default: those of this process; then ``FIRN_ALLOW`` and ``FIRN_REBIND`` are read too.
        share_secrets : bool, optional
            Put `variables` and fixed `credentials` into pickles. Default: pickles hold no secrets; the other process reads its
            own environment, and takes credentials by their names from its own configuration file.
        network_file_systems : bool, optional
            Write also to network and FUSE file systems, on which two writers may overwrite each other's commits.

        Raises
        ------
        NotFoundError
            If there is no repository.
        """
        place, arguments, share = _arguments(
            url,
            allow=allow,
            rebind=rebind,
            read_only=read_only,
            cache_bytes=cache_bytes,
            staged_bytes=staged_bytes,
            upload_bytes=upload_bytes,
            scratch=scratch,
            credentials=credentials,
            config=config,
            gap_bytes=gap_bytes,
            longest_bytes=longest_bytes,
            requests_per_host=requests_per_host,
            patience=patience,
            storage_credentials=storage_credentials,
            variables=variables,
            share_secrets=share_secrets,
            network_file_systems=network_file_systems,
        )
        return cls(NativeRepository.open(place, _native_options(arguments)), place, arguments, share)

    @classmethod
    def open_or_create(cls, url: Place, *, hash: str = "sha2-256", **options: Any) -> Repository:
        """Open a repository, or make one where there is none. Parameters as for `create` and `open`."""
        place, arguments, share = _arguments(url, **options)
        return cls(NativeRepository.open_or_create(place, hash, _native_options(arguments)), place, arguments, share)

    @staticmethod
    def exists(url: Place, **options: Any) -> bool:
        """Whether there is a repository. Options as for `open`.

        Raises
        ------
        FirnlineError
            If that cannot be found out, for example because the store does not answer.
        """
        place, arguments, _ = _arguments(url, **options)
        return NativeRepository.exists(place, _native_options(arguments))

    def reopen(self, **options: Any) -> Repository:
        """Open the repository once more with some other options, such as other allowed places.

        Parameters
        ----------
        **options
            As for `open`. Those that are not given stay as they are.
        """
        if self._url.startswith("memory:"):
            raise InvalidError("a repository in memory cannot be opened again")
        place, merged, share = self._opening(self._url, options)
        return Repository(NativeRepository.open(place, _native_options(merged)), place, merged, share)

    def _opening(self, url: Place, options: dict[str, Any]) -> tuple[str, dict[str, Any], bool]:
        """The arguments by which a place is opened as this repository was, with some other options."""
        place, given, _ = _arguments(url, **options)
        merged = {**self._options, **{name: given[name] for name in options if name != "share_secrets"}}
        return place, merged, bool(options.get("share_secrets", self._share_secrets))

    @property
    def url(self) -> str:
        """Where the repository lies. A path is absolute."""
        return self._url

    @property
    def hash(self) -> str:
        """The hash of every id: ``"sha2-256"`` or ``"blake3"``."""
        return self._native.hash

    @property
    def read_only(self) -> bool:
        """Whether it was opened to read only."""
        return bool(self._options["read_only"])

    def __repr__(self) -> str:
        return f"<firnline.Repository {self._url!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Repository):
            return NotImplemented
        if self._url.startswith("memory:"):
            return self._native is other._native
        return self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __getstate__(self) -> dict[str, Any]:
        if self._url.startswith("memory:"):
            raise InvalidError("a repository in memory cannot be pickled: no other process can read it")
        options = _to_pickle(self._options, self._share_secrets)
        return {"url": self._url, "options": options, "share_secrets": self._share_secrets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        options = state["options"]
        options = {**options, "credentials": [(name, Credentials(**one)) for name, one in options["credentials"]]}
        native = NativeRepository.open(state["url"], _native_options(options))
        self.__init__(native, state["url"], options, state["share_secrets"])  # type: ignore[misc]

    # --- sessions ----------------------------------------------------------------------------------------------------

    def readonly_session(
        self,
        branch: str | None = None,
        *,
        tag: str | None = None,
        snapshot_id: str | None = None,
        as_of: Time | None = None,
    ) -> Session:
        """Open one version to read. Give one of `branch`, `tag` and `snapshot_id`.

        Parameters
        ----------
        branch : str, optional
            The branch whose tip to read.
        tag : str, optional
            The tag to read.
        snapshot_id : str, optional
            The id of the snapshot to read, or at least its first 13 characters. A branch or tag is not looked for.
        as_of : datetime.datetime, datetime.date, numpy.datetime64 or str, optional
            Read what a reader of the branch saw at this time, through resets and deletions. A date without a time means
            its first moment in UTC; a time needs an offset, such as ``"2025-03-01T12:00Z"``, or a time zone. Times of NumPy
            are in UTC. Of a tag or a snapshot: the latest version on its line that is not later.

        Returns
        -------
        Session
            `Session.is_final` tells whether the same call will always open the same version.

        Raises
        ------
        NotFoundError
            If there is no such branch, tag or snapshot, or none at that time.
        InvalidError
            If not one of them is given, if `snapshot_id` is not an id, or if `as_of` is a `datetime` without a time zone.
        """
        if snapshot_id is not None and not _ID.fullmatch(snapshot_id):
            raise InvalidError(f"snapshot_id {snapshot_id!r} is not the id of a snapshot; use branch=, tag= or Repository.at")
        named = [("branch:", branch), ("tag:", tag), ("", snapshot_id)]
        given = [prefix + name for prefix, name in named if name is not None]
        if len(given) != 1:
            raise InvalidError("name one of branch, tag and snapshot_id")
        return self.at(given[0] if as_of is None else f"{given[0]}@{time_text(as_of)}")

    def at(self, revision: str) -> Session:
        """Open the version that a revision means, to read.

        Parameters
        ----------
        revision : str
            Such as ``"main"``, ``"v1.0"``, ``"main~3"``, ``"main@2025-03-01"`` or the id of a snapshot.
        """
        return Session(self, self._native.read(revision))

    def writable_session(self, branch: str) -> Session:
        """Open a session in which changes are staged on top of the tip of a branch.

        Raises
        ------
        NotFoundError
            If there is no such branch.
        """
        return Session(self, self._native.write(branch))

    @contextmanager
    def transaction(
        self,
        branch: str,
        *,
        message: str,
        metadata: Mapping[str, str] | None = None,
        author: str | None = None,
        rebase: bool = True,
        on_conflict: OnConflict = "fail",
        on_conflict_below: OnConflictBelow | None = None,
        allow_empty: bool = False,
    ) -> Iterator[FirnlineStore]:
        """Write to a branch: what the block sets is committed at its end, and nothing if the block raises.

        Parameters
        ----------
        branch : str
            The branch.
        message, metadata, author, rebase, on_conflict, on_conflict_below, allow_empty
            As for `Session.commit`. What the commit would be refused for, whatever it holds, is refused before the block.

        Yields
        ------
        FirnlineStore
            The store of a writable session. Its `session` tells the id of the version after the block.

        Examples
        --------
        >>> import firnline
        >>> repo = firnline.Repository.create("memory:")
        >>> with repo.transaction("main", message="January") as store:
        ...     store.set_sync("a/c/0", firnline.buffer(b"..."))
        >>> store.session.snapshot_id == repo.lookup_branch("main")
        True
        """
        session = self.writable_session(branch)
        arguments = _commit_arguments(message, metadata, author, rebase, on_conflict, allow_empty, on_conflict_below)
        session._native.check_commit(arguments)
        yield session.store
        session.commit(
            message,
            metadata=metadata,
            author=author,
            rebase=rebase,
            on_conflict=on_conflict,
            on_conflict_below=on_conflict_below,
            allow_empty=allow_empty,
        )


def _arguments(
    url: Place,
    *,
    allow: Allow | str | None = None,
    rebind: Mapping[str, str | tuple[str, bool]] | None = None,
    read_only: bool = False,
    cache_bytes: int | None = None,
    staged_bytes: int | None = None,
    upload_bytes: int | None = None,
    scratch: Place | None = None,
    credentials: Mapping[str, Credentials] | None = None,
    config: bool | Place | None = None,
    gap_bytes: int | None = None,
    longest_bytes: int | None = None,
    requests_per_host: int | None = None,
    patience: float | timedelta | None = None,
    storage_credentials: StorageCredentials | None = None,
    variables: Mapping[str, str] | None = None,
    share_secrets: bool = False,
    network_file_systems: bool = False,
) -> tuple[str, dict[str, Any], bool]:
    """The place, and the options as the native calls take them."""
    arguments = {
        "allow": _entries(allow),
        "rebind": _rebinds(rebind),
        "read_only": read_only,
        "cache_bytes": cache_bytes,
        "staged_bytes": staged_bytes,
        "upload_bytes": upload_bytes,
        "scratch": None if scratch is None else os.path.abspath(scratch),
        "credentials": _named(credentials),
        "config": config if config is None or isinstance(config, bool) else os.path.abspath(config),
        "gap_bytes": gap_bytes,
        "longest_bytes": longest_bytes,
        "requests_per_host": requests_per_host,
        "patience": patience.total_seconds() if isinstance(patience, timedelta) else patience,
        "storage_credentials": storage_credentials,
        "variables": None if variables is None else _Variables(variables),
        "network_file_systems": network_file_systems,
        "names_all": True,
    }
    return _absolute(url), arguments, share_secrets
