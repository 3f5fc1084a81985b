"""Credentials for external files, and how these are asked for."""

from __future__ import annotations

import _thread
import asyncio
import base64
import functools
import logging
import pickle
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import firnline as fl
from conftest import read

CONTENT = bytes(range(256)) * 8


class Server:
    """A web server with one file, for those who carry one of the values of `Authorization`."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.seen: list[str | None] = []
        self.most = self.current = 0
        # How long an answer takes, in seconds.
        self.pause = 0.0
        # Called by a request, which then gets no answer.
        self.silence: Callable[[], None] | None = None
        self.closed = threading.Event()
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                given = self.headers.get("Authorization")
                outer.seen.append(given)
                if outer.silence is not None:
                    outer.silence()
                    outer.closed.wait()
                    return
                with lock:
                    outer.current += 1
                    outer.most = max(outer.most, outer.current)
                status, body, first = (401, b"", 0) if given not in outer.accepted else (200, CONTENT, 0)
                if status == 200 and (span := self.headers.get("Range")):
                    begin, _, end = span.removeprefix("bytes=").partition("-")
                    status, first = 206, int(begin)
                    body = CONTENT[first : int(end) + 1 if end else None]
                self.send_response(status)
                if status != 401:
                    self.send_header("ETag", '"one"')
                    self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
                    self.send_header("Accept-Ranges", "bytes")
                if status == 206:
                    self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(CONTENT)}")
                self.send_header("Content-Length", str(len(body)))
                # Before the client can send another request.
                time.sleep(outer.pause)
                with lock:
                    outer.current -= 1
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def token(server: Server) -> str:
    token = secrets.token_hex(16)
    server.accepted.add(f"Bearer {token}")
    return token


@pytest.fixture
def repo(tmp_path: Path, server: Server) -> fl.Repository:
    """A version that points at the file of the server."""
    repo = fl.Repository.create(tmp_path / "repo")
    session = repo.writable_session("main")
    for number in range(4):
        session.store.set_virtual_ref(
            f"v/c/{number}", server.place + "a.bin", offset=number, length=4, checksum='"one"', validate_container=False
        )
    session.commit("virtual")
    return repo


def opened(repo: fl.Repository, server: Server, credentials: fl.Credentials, **options: Any) -> fl.Repository:
    return repo.reopen(credentials={"archive": credentials}, allow={server.place: "as:archive+private"}, **options)


def test_places_get_the_credentials_that_their_entry_names(repo: fl.Repository, server: Server, token: str) -> None:
    assert read(opened(repo, server, fl.Credentials.bearer(token)).at("main"), "v/c/1") == CONTENT[1:5]
    server.accepted = {"Basic " + base64.b64encode(b"me:hush").decode()}
    assert read(opened(repo, server, fl.Credentials.basic("me", "hush")).at("main"), "v/c/1") == CONTENT[1:5]
    server.seen.clear()
    for anonymous in (
        repo.reopen(credentials={"archive": fl.Credentials.basic("me", "hush")}, allow={server.place: "private"}),
        opened(repo, server, fl.Credentials.anonymous()),
    ):
        with pytest.raises(fl.DeniedError):
            anonymous.at("main").store.get_sync("v/c/1")
    assert set(server.seen) == {None}


def test_wrong_credentials_are_told_nowhere(
    repo: fl.Repository, server: Server, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = secrets.token_hex(16)
    closed = opened(repo, server, fl.Credentials.bearer(wrong))
    fl.set_log_level(5)
    try:
        with caplog.at_level(1), pytest.raises(fl.DeniedError) as denied:
            closed.at("main").store.get_sync("v/c/1")
    finally:
        fl.set_log_level(logging.INFO)
    assert f"Bearer {wrong}" in server.seen
    said = [str(denied.value), repr(denied.value), repr(closed), caplog.text, repr(vars(closed)), str(vars(closed))]
    assert not any(wrong in text for text in said)


def test_credentials_that_are_not_defined(repo: fl.Repository, server: Server) -> None:
    with pytest.raises(fl.InvalidError, match="archive"):
        repo.reopen(allow={server.place: "as:archive"})
    with pytest.raises(fl.InvalidError, match="storage_credentials"):
        repo.reopen(credentials="anonymous")
    with pytest.raises(fl.InvalidError, match=r"no firnline\.Credentials"):
        repo.reopen(credentials={"archive": "hush"})
    with pytest.raises(fl.InvalidError, match="env"):
        repo.reopen(credentials={"env": fl.Credentials.anonymous()})


@pytest.mark.parametrize(
    "credentials",
    [
        lambda hush: fl.Credentials.s3(hush, hush, hush, endpoint="https://s3.example.org", region="eu"),
        lambda hush: fl.Credentials.gs(token=hush),
        lambda hush: fl.Credentials.gs(service_account_key=hush),
        lambda hush: fl.Credentials.az(account_key=hush, account="me"),
        lambda hush: fl.Credentials.az(sas_token=hush),
        lambda hush: fl.Credentials.bearer(hush),
        lambda hush: fl.Credentials.basic(hush, hush),
        lambda hush: fl.Credentials.command("http", "tokens", hush),
        lambda hush: fl.Credentials.callback(lambda: {"bearer": hush}),
        lambda hush: fl.Credentials.callback(functools.partial(dict, bearer=hush)),
        # No secret that the engine would refuse, and printed no more.
        lambda hush: fl.Credentials.bearer("x", endpoint=f"https://example.org/?{hush}"),
    ],
)
def test_printing_shows_no_secrets(credentials: Any) -> None:
    hush = secrets.token_hex(16)
    made = credentials(hush)
    texts = [repr(made), str(made), repr(made._origin), repr(made._native), repr(made._settings)]
    assert not any(hush in text for text in texts), texts
    assert "Credentials" in repr(made)


def test_wrong_fields_are_named_without_values() -> None:
    for wrong in (
        lambda: fl.Credentials.az(account_key="hush", sas_token="hush"),
        lambda: fl.Credentials.gs(),
        lambda: fl.Credentials.bearer(""),
        lambda: fl.Credentials.bearer(b"hush"),  # type: ignore[arg-type]
        lambda: fl.Credentials.command("http"),
        lambda: fl.Credentials.callback("hush"),  # type: ignore[arg-type]
    ):
        with pytest.raises(fl.InvalidError) as refused:
            wrong()
        assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda endpoint: fl.Credentials.s3("A", "B", endpoint=endpoint),
        lambda endpoint: fl.Credentials.gs(token="A", endpoint=endpoint),
        lambda endpoint: fl.Credentials.az(token="A", endpoint=endpoint),
        lambda endpoint: fl.Credentials.bearer("A", endpoint=endpoint),
        lambda endpoint: fl.Credentials.basic("A", "B", endpoint=endpoint),
        lambda endpoint: fl.Credentials.command("http", "tokens", endpoint=endpoint),
        lambda endpoint: fl.Credentials.callback(module_token, endpoint=endpoint),
    ],
)
def test_an_endpoint_that_holds_a_secret_is_refused(make: Any) -> None:
    hush = secrets.token_hex(16)
    make("https://example.org")
    for endpoint in (f"https://user:{hush}@example.org", f"https://example.org/?X-Amz-Signature={hush}"):
        with pytest.raises(fl.InvalidError, match="the endpoint holds") as refused:
            make(endpoint)
        assert hush not in str(refused.value)
    with pytest.raises(fl.InvalidError, match="region"):
        fl.Credentials.s3("A", "B", region="no region")


def test_printing_a_repository_shows_no_variables(repo: fl.Repository) -> None:
    hush = secrets.token_hex(16)
    opened = repo.reopen(variables={"AWS_SECRET_ACCESS_KEY": hush}, share_secrets=True)
    assert hush not in repr(vars(opened)) and "AWS_SECRET_ACCESS_KEY" in repr(vars(opened))
    assert hush.encode() in pickle.dumps(opened) and pickle.loads(pickle.dumps(opened)) == opened


CALLS: list[str] = []
TOKEN = secrets.token_hex(16)


def module_token() -> dict[str, Any]:
    """A callback that another process finds by its name."""
    CALLS.append("called")
    return {"bearer": TOKEN}


async def later(token: str) -> dict[str, Any]:
    await asyncio.sleep(0.01)
    return {"bearer": token, "expires": datetime.now(UTC) + timedelta(hours=1)}


@pytest.mark.parametrize("form", ["mapping", "credentials", "coroutine", "expires"])
def test_a_callback_gives_credentials_once_for_many_reads(repo: fl.Repository, server: Server, token: str, form: str) -> None:
    calls = []

    def fetch() -> Any:
        calls.append(threading.current_thread())
        given = {
            "mapping": {"bearer": token},
            "credentials": fl.Credentials.bearer(token),
            "coroutine": None,
            "expires": {"bearer": token, "expires_at": "2099-01-01T00:00:00+00:00"},
        }[form]
        return later(token) if form == "coroutine" else given

    store = opened(repo, server, fl.Credentials.callback(fetch)).at("main").store
    values = store._native.get_parts([(f"v/c/{number}", None, None) for number in range(4)], False)
    assert [bytes(value) for value in values] == [CONTENT[n : n + 4] for n in range(4)]
    assert len(calls) == 1 and calls[0] is not threading.main_thread()


async def test_a_callback_serves_coroutines(repo: fl.Repository, server: Server, token: str) -> None:
    store = opened(repo, server, fl.Credentials.callback(lambda: later(token))).at("main").store
    found = await asyncio.gather(*(store.get(f"v/c/{number}") for number in range(4)))
    assert [value.to_bytes() for value in found if value] == [CONTENT[n : n + 4] for n in range(4)]


def test_credentials_that_a_server_refuses_are_fetched_anew(repo: fl.Repository, server: Server, token: str) -> None:
    given = iter(["old", token])
    store = opened(repo, server, fl.Credentials.callback(lambda: {"bearer": next(given)})).at("main").store
    value = store.get_sync("v/c/0")
    assert value is not None and value.to_bytes() == CONTENT[:4]
    assert {"Bearer old", f"Bearer {token}"} <= set(server.seen)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (5, "int"),
        ({"token": "hush"}, "kind"),
        ({"bearer": b"hush"}, "not a text"),
        ({"bearer": "hush", "user": "hush"}, "bearer"),
        ({"bearer": "hush", "expires": datetime(2030, 1, 1)}, "time zone"),
        ({"bearer": "hush", "expires": "hush"}, "time zone"),
        (fl.Credentials.bearer("hush", endpoint="https://example.org"), "endpoint"),
        (fl.Credentials.anonymous(), "fixed credentials"),
    ],
)
def test_what_a_callback_returns_is_checked_and_not_shown(
    repo: fl.Repository, server: Server, returned: Any, message: str
) -> None:
    store = opened(repo, server, fl.Credentials.callback(lambda: returned)).at("main").store
    with pytest.raises(fl.FirnlineError, match=message) as refused:
        store.get_sync("v/c/0")
    assert "hush" not in str(refused.value) and server.seen == []


def test_a_callback_of_a_known_kind_is_not_called_for_another_server(repo: fl.Repository, server: Server) -> None:
    calls: list[str] = []
    store = opened(repo, server, fl.Credentials.callback(lambda: calls.append("called"), kind="s3")).at("main").store
    with pytest.raises(fl.InvalidError, match="s3"):
        store.get_sync("v/c/0")
    assert calls == [] == server.seen
    with pytest.raises(fl.InvalidError, match="not one of s3"):
        fl.Credentials.callback(module_token, kind="ftp")  # type: ignore[arg-type]
    with pytest.raises(fl.InvalidError, match="not one of s3"):
        fl.Credentials.command("ftp", "tokens")  # type: ignore[arg-type]


def test_a_callback_that_takes_too_long_is_not_called_twice(repo: fl.Repository, server: Server, token: str) -> None:
    calls, go_on = [], threading.Event()

    def slow() -> dict[str, str]:
        calls.append("called")
        go_on.wait()
        return {"bearer": token}

    store = opened(repo, server, fl.Credentials.callback(slow), patience=1).at("main").store
    with pytest.raises(fl.UnavailableError, match="answer"):
        store.get_sync("v/c/0")
    go_on.set()
    value = store.get_sync("v/c/0")
    assert value is not None and value.to_bytes() == CONTENT[:4] and calls == ["called"]


def test_a_callback_returns_credentials_of_its_kind_and_server(repo: fl.Repository, server: Server, token: str) -> None:
    here = server.place.removesuffix("/")
    both = fl.Credentials.callback(lambda: fl.Credentials.bearer(token, endpoint=here), kind="http", endpoint=here)
    assert read(opened(repo, server, both).at("main"), "v/c/0") == CONTENT[:4]
    other = fl.Credentials.callback(lambda: fl.Credentials.s3("A", "hush"), kind="http")
    with pytest.raises(fl.FirnlineError, match="kind http returned some of kind s3"):
        opened(repo, server, other).at("main").store.get_sync("v/c/0")


def test_what_a_callback_raises_is_told(repo: fl.Repository, server: Server) -> None:
    def broken() -> Any:
        raise RuntimeError("the token server sleeps")

    store = opened(repo, server, fl.Credentials.callback(broken)).at("main").store
    with pytest.raises(fl.UnavailableError, match="RuntimeError: the token server sleeps"):
        store.get_sync("v/c/0")


def test_pickles_hold_names_and_no_secrets(
    repo: fl.Repository, server: Server, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for holding in (fl.Credentials.bearer(token), fl.Credentials.callback(lambda: {"bearer": token})):
        with pytest.raises(fl.InvalidError, match="share_secrets"):
            pickle.dumps(holding)
    assert pickle.loads(pickle.dumps(fl.Credentials.callback(module_token, kind="http")))._origin["kind"] == "http"
    private = opened(repo, server, fl.Credentials.bearer(token)).at("main").store
    sent = pickle.dumps(private)
    assert token.encode() not in sent
    # The other process has no credentials of this name ...
    with pytest.raises(fl.InvalidError, match="archive"):
        pickle.loads(sent).get_sync("v/c/0")
    # ... or its configuration file defines them.
    config = tmp_path / "config.toml"
    config.write_text(f'[credentials.archive]\nkind = "http"\nbearer = "{token}"\n')
    config.chmod(0o600)
    monkeypatch.setenv("FIRN_CONFIG", str(config))
    assert pickle.loads(sent).get_sync("v/c/0").to_bytes() == CONTENT[:4]
    monkeypatch.setenv("FIRN_CONFIG", "")
    shared = pickle.dumps(opened(repo, server, fl.Credentials.bearer(token), share_secrets=True).at("main").store)
    assert token.encode() in shared and pickle.loads(shared).get_sync("v/c/0").to_bytes() == CONTENT[:4]


def test_callbacks_travel_by_their_names(repo: fl.Repository, server: Server) -> None:
    server.accepted.add(f"Bearer {TOKEN}")
    sent = pickle.dumps(opened(repo, server, fl.Credentials.callback(module_token)).at("main").store)
    assert TOKEN.encode() not in sent
    CALLS.clear()
    assert pickle.loads(sent).get_sync("v/c/0").to_bytes() == CONTENT[:4] and CALLS == ["called"]
    left_out = pickle.loads(pickle.dumps(opened(repo, server, fl.Credentials.callback(lambda: {"bearer": TOKEN}))))
    with pytest.raises(fl.InvalidError, match="archive"):
        left_out.at("main").store.get_sync("v/c/0")


def test_the_configuration_file(repo: fl.Repository, server: Server, token: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'allow = ["{server.place}=as:archive+private"]\n[credentials.archive]\nkind = "http"\nbearer = "{token}"\n'
    )
    config.chmod(0o644)
    with pytest.raises(fl.DeniedError, match="chmod 600"):
        repo.reopen(config=config)
    config.chmod(0o600)
    assert read(repo.reopen(config=config).at("main"), "v/c/0") == CONTENT[:4]
    with pytest.raises(fl.DeniedError):
        repo.reopen(config=False).at("main").store.get_sync("v/c/0")
    profile = fl.Credentials.profile("archive", config=config)
    assert read(opened(repo, server, profile).at("main"), "v/c/0") == CONTENT[:4]
    with pytest.raises(fl.NotFoundError, match="other"):
        repo.reopen(credentials={"x": fl.Credentials.profile("other", config=config)})


def test_options_of_reading(repo: fl.Repository, server: Server, token: str) -> None:
    credentials = fl.Credentials.bearer(token)
    session = repo.writable_session("main")
    for number in range(4):
        session.store.set_virtual_ref(
            f"far/c/{number}", server.place + "a.bin", offset=500 * number, length=4, checksum='"one"', validate_container=False
        )
    session.commit("ranges with gaps")
    parts = [(f"far/c/{number}", None, None) for number in range(4)]

    def requests(**options: Any) -> int:
        store = opened(repo, server, credentials, **options).at("main").store
        server.seen.clear()
        server.most, server.pause = 0, 0.05
        store._native.get_parts(parts, False)
        return len(server.seen)

    assert requests() == 1 and requests(gap_bytes=495) == 4
    assert requests(longest_bytes=600) > 1
    assert requests(gap_bytes=0, requests_per_host=1, patience=timedelta(seconds=20)) == 4 and server.most == 1
    for wrong in ({"longest_bytes": 0}, {"requests_per_host": 0}, {"patience": 0}, {"patience": -1.0}):
        with pytest.raises(fl.InvalidError):
            repo.reopen(**wrong)


@pytest.mark.parametrize("call", ["check", "lock", "move", "vendor", "virtualize", "kerchunk", "repin"])
def test_ctrl_c_ends_a_call_that_waits(repo: fl.Repository, server: Server, call: str) -> None:
    """The server never answers, so a call that did not look for signals would end with another error, after its patience."""
    server.silence = _thread.interrupt_main
    reader = repo.reopen(allow={server.place: "private"})
    before = repo.lookup_branch("main")
    with pytest.raises(KeyboardInterrupt):
        match call:
            case "check":
                reader.check_dependencies()
            case "lock":
                reader.lock_dependencies()
            case "move":
                reader.move_dependencies(server.place + "a.bin", server.place + "b.bin")
            case "vendor":
                reader.vendor()
            case "virtualize":
                fl.virtualize(server.place + "a.nc", reader)
            case "kerchunk":
                reader.import_kerchunk({"k/0": [server.place + "b.bin", 0, 4]})
            case "repin":
                reader.repin()
    assert repo.lookup_branch("main") == before
