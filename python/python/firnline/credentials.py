"""Credentials for places with external files: fixed, from the environment, from a configuration file, or from a function."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from firnline._firnline import NativeCredentials
from firnline.errors import InvalidError

__all__ = ["Credentials", "Kind"]

Kind = Literal["s3", "gs", "az", "http"]

# Names that other libraries give the fields: those of AWS, as boto3 returns them, and those of obstore.
_ALIASES = {
    "AccessKeyId": "access_key_id",
    "SecretAccessKey": "secret_access_key",
    "SessionToken": "session_token",
    "Expiration": "expires",
    "expires_at": "expires",
}
# The kind of server, by a field that only credentials of this kind have.
_KINDS: dict[str, Kind] = {
    "access_key_id": "s3",
    "service_account_key": "gs",
    "account_key": "az",
    "sas_token": "az",
    "bearer": "http",
    "user": "http",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Sealed:
    """Something that is never printed."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "…"


class Credentials:
    """What lets a reader in to places with external files, and where it comes from.

    Give `Repository.open` credentials by name, and name them in the entries of the places that they are for::

        firnline.Repository.open(
            "archive",
            credentials={"minio": firnline.Credentials.s3("AKIA…", "…", endpoint="https://minio.example.org")},
            allow={"s3://era5/": "as:minio"},
        )

    No place gets credentials that no entry names for it. They are sent over TLS, or without it to this machine only, and never
    to another server. Printing shows no secrets.

    Make one by `s3`, `gs`, `az`, `bearer`, `basic`, `from_env`, `profile`, `anonymous`, `repository`, `command` or `callback`.

    Pickling, and so sending a store to Dask, takes the names of credentials along and no secrets: see `Repository.open`.
    """

    __slots__ = ("_made", "_origin", "_settings")

    def __init__(
        self,
        origin: str,
        *,
        kind: str = "",
        fields: Mapping[str, str | None] | None = None,
        words: Sequence[str] = (),
        function: Callable[[], Any] | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        account: str | None = None,
    ) -> None:
        """Not for callers: use the class methods."""
        given = {name: value for name, value in (fields or {}).items() if value is not None}
        if bad := [name for name, value in given.items() if not isinstance(value, str)]:
            raise InvalidError(f"{bad[0]} of the credentials is not a text")
        self._origin: dict[str, Any] = {
            "origin": origin,
            "kind": kind,
            "fields": _Sealed(given),
            "words": _Sealed([*words]),
            "function": _Sealed(function),
        }
        self._settings = _Sealed({"endpoint": endpoint, "region": region, "account": account})
        self._made = NativeCredentials(
            origin,
            kind,
            given,
            [*words],
            None if function is None else _asking(function, kind, self._settings.value),
            endpoint,
            region,
            account,
        )

    # --- fixed -------------------------------------------------------------------------------------------------------

    @classmethod
    def s3(
        cls,
        access_key_id: str,
        secret_access_key: str,
        session_token: str | None = None,
        *,
        endpoint: str | None = None,
        region: str | None = None,
    ) -> Credentials:
        """A pair of keys for ``s3://`` places.

        Parameters
        ----------
        access_key_id, secret_access_key : str
            The keys.
        session_token : str, optional
            The token of the session, if the keys belong to one.
        endpoint : str, optional
            The server that they are for, such as ``"https://minio.example.org"``. They are sent to no other one. A URL that
            holds a password or a signature is an `InvalidError`, here and below. Default: the server of AWS.
        region : str, optional
            The region of buckets whose container names none.
        """
        fields = {"access_key_id": access_key_id, "secret_access_key": secret_access_key, "session_token": session_token}
        return cls("fixed", kind="s3", fields=fields, endpoint=endpoint, region=region)

    @classmethod
    def gs(
        cls, *, token: str | None = None, service_account_key: str | None = None, endpoint: str | None = None
    ) -> Credentials:
        """An access token, or the JSON document of a service account, for ``gs://`` places."""
        return cls("fixed", kind="gs", fields={"token": token, "service_account_key": service_account_key}, endpoint=endpoint)

    @classmethod
    def az(
        cls,
        *,
        account_key: str | None = None,
        sas_token: str | None = None,
        token: str | None = None,
        account: str | None = None,
        endpoint: str | None = None,
    ) -> Credentials:
        """The key of an account, a shared access signature or an access token, for ``az://`` places of this account."""
        fields = {"account_key": account_key, "sas_token": sas_token, "token": token}
        return cls("fixed", kind="az", fields=fields, account=account, endpoint=endpoint)

    @classmethod
    def bearer(cls, token: str, *, endpoint: str | None = None) -> Credentials:
        """A bearer token for ``http://`` and ``https://`` places.

        Parameters
        ----------
        token : str
            The token.
        endpoint : str, optional
            The URL below which it is sent. Default: every place whose entry names these credentials.
        """
        return cls("fixed", kind="http", fields={"bearer": token}, endpoint=endpoint)

    @classmethod
    def basic(cls, user: str, password: str, *, endpoint: str | None = None) -> Credentials:
        """A name and a password for ``http://`` and ``https://`` places. See `bearer`."""
        return cls("fixed", kind="http", fields={"user": user, "password": password}, endpoint=endpoint)

    # --- from elsewhere ----------------------------------------------------------------------------------------------

    @classmethod
    def from_env(cls) -> Credentials:
        """Those of the environment variables of this process, as the word ``env`` of an entry means them."""
        return cls("environment")

    @classmethod
    def anonymous(cls) -> Credentials:
        """None."""
        return cls("anonymous")

    @classmethod
    def repository(cls) -> Credentials:
        """Those with which the repository itself is reached. Otherwise no external file is read with them."""
        return cls("repository")

    @classmethod
    def profile(cls, name: str, *, config: str | os.PathLike[str] | None = None) -> Credentials:
        """Those that a configuration file defines under a name.

        Parameters
        ----------
        name : str
            The name: of a table ``[credentials.NAME]``.
        config : path, optional
            The file. Default: that of the user.
        """
        return cls("profile", kind=name, words=[] if config is None else [os.path.abspath(config)])

    @classmethod
    def command(cls, kind: Kind, *command: str, endpoint: str | None = None, region: str | None = None) -> Credentials:
        """Those that a program prints: one JSON object with the fields that a callback returns. No shell starts it.

        Printing shows neither program nor arguments. Pickles hold both, so let the program find its own secrets elsewhere.

        Parameters
        ----------
        kind : {"s3", "gs", "az", "http"}
            The kind of server that they are for.
        *command : str
            The program and its arguments.
        """
        _require_kind(kind)
        return cls("command", kind=kind, words=command, endpoint=endpoint, region=region)

    @classmethod
    def callback(
        cls,
        function: Callable[[], Any] | Callable[[], Awaitable[Any]],
        *,
        kind: Kind | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        account: str | None = None,
    ) -> Credentials:
        """Those that a function returns, for credentials that expire.

        Parameters
        ----------
        function : callable or coroutine function
            Takes no arguments. Returns fixed `Credentials`, or a mapping of their fields: ``access_key_id``,
            ``secret_access_key`` and ``session_token``; ``token`` or ``service_account_key``; ``account_key`` or ``sas_token``;
            ``bearer``; ``user`` and ``password``. The names that boto3 and obstore use are understood. The mapping may have
            ``expires``: a `datetime` with a time zone, a text in RFC 3339, or seconds since 1970.
        kind : {"s3", "gs", "az", "http"}, optional
            The kind of server that they are for. The function is not called for a server of another kind. Needed where the
            fields do not tell it, as a ``token`` alone.
        endpoint, region, account : str, optional
            As for `s3` and `az`. What the function returns cannot name others.

        Notes
        -----
        The function is called when the first request needs credentials, shortly before they expire, and once after a server
        refused them; by one thread at a time, which is not the thread that reads. A coroutine runs in an event loop of its own.
        Reads wait for it for a third of the repository's ``patience``, by default 20 seconds, and then fail with
        `UnavailableError`. The function is not stopped, and a later read takes what it returns.
        What the function raises is shown in the error of the read, so it must hold no secrets.

        In a process that gets a pickled store, the function is imported by its name. One that cannot be imported, such as a
        lambda, is left out unless the repository was opened with ``share_secrets=True``.
        """
        if not callable(function):
            raise InvalidError(f"a {type(function).__name__} is no function that could return credentials")
        if kind is not None:
            _require_kind(kind)
        return cls("callback", kind=kind or "", function=function, endpoint=endpoint, region=region, account=account)

    # --- being an object ---------------------------------------------------------------------------------------------

    @property
    def _native(self) -> NativeCredentials:
        return self._made

    @property
    def _holds_secrets(self) -> bool:
        """Whether a pickle of it would hold secrets, or code that may hold some."""
        function = self._origin["function"].value
        return self._origin["origin"] == "fixed" or (function is not None and not _is_importable(function))

    def __repr__(self) -> str:
        what = self._origin["origin"]
        what = f"{what} ({self._origin['kind']})" if self._origin["kind"] else what
        settings = "".join(f", {name} {_shown(value)}" for name, value in self._settings.value.items() if value is not None)
        return f"<firnline.Credentials {what}{settings}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._holds_secrets:
            raise InvalidError(
                "credentials are not pickled, so that secrets do not end up in files and messages; a repository that is opened "
                "with share_secrets=True takes them along"
            )
        return _restored, (self._described(),)

    def _described(self) -> dict[str, Any]:
        """Everything that it takes to make it again, secrets among it."""
        sealed = {name: value.value if isinstance(value, _Sealed) else value for name, value in self._origin.items()}
        return {**sealed, **self._settings.value}


def _shown(setting: str) -> str:
    """A setting as it is printed. The engine refuses an endpoint in which it sees a secret, and may not see every one."""
    return "…" if "@" in setting or "?" in setting else setting


def _require_kind(kind: str) -> None:
    if kind not in get_args(Kind):
        raise InvalidError(f"kind {kind!r} is not one of {', '.join(get_args(Kind))}")


def _restored(described: dict[str, Any]) -> Credentials:
    """Make credentials again that were pickled."""
    return Credentials(**described)


def _is_importable(function: Callable[[], Any]) -> bool:
    """Whether another process finds the function by its name."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module in (None, "__main__") or module not in sys.modules:
        return False
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is function


def _asking(
    function: Callable[[], Any], kind: str, settings: Mapping[str, str | None]
) -> Callable[[], tuple[str, dict[str, str], int | None]]:
    """The function as the native module calls it."""

    def ask() -> tuple[str, dict[str, str], int | None]:
        given = function()
        if inspect.isawaitable(given):
            given = asyncio.run(_awaited(given))
        return _issued(given, kind, settings)

    return ask


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given


def _issued(given: Any, kind: str, settings: Mapping[str, str | None]) -> tuple[str, dict[str, str], int | None]:
    """Kind, fields, and until when they are good. Messages hold names of fields and no values."""
    if isinstance(given, Credentials):
        if given._origin["origin"] != "fixed":
            raise InvalidError("a callback returns fixed credentials, such as Credentials.s3(...)")
        if kind and given._origin["kind"] != kind:
            raise InvalidError(f"a callback for credentials of kind {kind} returned some of kind {given._origin['kind']}")
        if others := [name for name, value in given._settings.value.items() if value not in (None, settings[name])]:
            raise InvalidError(f"a callback returned credentials with {others[0]}=; pass it to Credentials.callback")
        return given._origin["kind"], given._origin["fields"].value, None
    if not isinstance(given, Mapping):
        raise InvalidError(f"a callback returned {type(given).__name__} instead of credentials or a mapping")
    fields: dict[str, Any] = {_ALIASES.get(str(name), str(name)): value for name, value in given.items() if value is not None}
    expires = _micros(fields.pop("expires", None))
    kind = kind or next((known for name, known in _KINDS.items() if name in fields), "")
    if not kind:
        raise InvalidError("a callback returned fields that do not tell the kind of server; pass kind= to Credentials.callback")
    if kind == "s3" and "token" in fields:
        fields["session_token"] = fields.pop("token")
    for name, value in fields.items():
        if not isinstance(value, str):
            raise InvalidError(f"a callback returned a field {name!r} that is not a text")
    return kind, fields, expires


def _micros(expires: Any) -> int | None:
    """A time in microseconds since 1970."""
    if expires is None:
        return None
    if isinstance(expires, int | float):
        return int(expires * 1_000_000)
    if isinstance(expires, str):
        try:
            expires = datetime.fromisoformat(expires)
        except ValueError:
            expires = None
    if not isinstance(expires, datetime) or expires.tzinfo is None:
        raise InvalidError("a callback returned a field 'expires' that is no time with a time zone")
    return (expires - _EPOCH) // timedelta(microseconds=1)
