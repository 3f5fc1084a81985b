"""Containers: named templates of URLs, by which external files are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firnline.external import committed, require_commit_options
from firnline.rows import Rows

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository, NativeSession
    from firnline.session import Session

__all__ = ["ContainerMethods", "RenamedFiles", "SessionContainerMethods"]

_SUGGESTION = ("name", "template", "defaults", "options", "is_new", "files", "refs", "bytes_saved")


@dataclass(frozen=True)
class RenamedFiles:
    """What it took to rename files.

    Attributes
    ----------
    suggestions : Rows
        The containers that were added or used, as `Repository.suggest_containers` lists them.
    files, refs, leaves : int
        Files that have another name, references into them, and leaves of the manifest that hold these.
    bytes_saved : int
        By how much the names are shorter together.
    snapshot_id : str or None
        The version that was committed. ``None`` from a session.
    """

    suggestions: Rows
    files: int
    refs: int
    leaves: int
    bytes_saved: int
    snapshot_id: str | None = None


class ContainerMethods:
    """The methods of a repository that are about containers."""

    _native: NativeRepository

    if TYPE_CHECKING:

        def writable_session(self, branch: str) -> Session: ...

    def containers(self, revision: str = "main") -> Rows:
        """The containers of a version.

        Returns
        -------
        Rows
            ``name``, ``template``, ``defaults``, ``options``, and how many ``files`` lie in it, with how many ``refs`` and
            ``bytes``.
        """
        columns = ("name", "template", "defaults", "options", "files", "refs", "bytes")
        return Rows(columns, self._native.container_uses(revision))

    def set_container(
        self,
        name: str,
        template: str,
        *,
        defaults: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        branch: str = "main",
        message: str | None = None,
        **commit: Any,
    ) -> str:
        """Commit a container, new or with another definition: see `Session.set_container`, and `Session.commit` for the rest.

        Returns
        -------
        str
            The id of the version.
        """
        session = self.writable_session(branch)
        session.set_container(name, template, defaults=defaults, options=options)
        return session.commit(message if message is not None else f"container {name}: {template}", **commit)

    def add_container(
        self,
        name: str,
        template: str,
        *,
        defaults: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        branch: str = "main",
        message: str | None = None,
        **commit: Any,
    ) -> str:
        """Commit a container of a new name. See `Session.add_container`, and `Session.commit` for further parameters.

        Returns
        -------
        str
            The id of the version.
        """
        session = self.writable_session(branch)
        session.add_container(name, template, defaults=defaults, options=options)
        return session.commit(message if message is not None else f"add container {name}: {template}", **commit)

    def remove_container(self, name: str, *, branch: str = "main", message: str | None = None, **commit: Any) -> str:
        """Commit the removal of a container in which no file lies. See `Session.commit` for further parameters.

        Returns
        -------
        str
            The id of the version.
        """
        session = self.writable_session(branch)
        session.remove_container(name)
        return session.commit(message if message is not None else f"remove container {name}", **commit)

    def suggest_containers(self, revision: str = "main") -> Rows:
        """Templates that would make the names of many files short, by their URLs.

        Returns
        -------
        Rows
            ``name``, ``template``, ``defaults``, ``options``, ``is_new`` (whether it would have to be added), how many
            ``files`` would get a name in it, with how many ``refs``, and ``bytes_saved``.

        See Also
        --------
        apply_suggested_containers : carries it out
        """
        return Rows(_SUGGESTION, self._native.suggest_containers(revision))

    def apply_suggested_containers(self, *, branch: str = "main", message: str | None = None, **commit: Any) -> RenamedFiles:
        """Add the containers that `suggest_containers` lists, and name all files by them, in one version.

        No URL changes, and nothing that is recorded of a file. References into files with another name are rewritten. See
        `Session.commit` for further parameters.
        """
        require_commit_options(commit)
        session = self.writable_session(branch)
        suggestions = self.suggest_containers(session.snapshot_id)
        definitions = [(row["name"], row["template"], row["defaults"], row["options"]) for row in suggestions]
        renamed = RenamedFiles(suggestions, *session._native.rename_files(definitions))
        return committed(session, renamed, message, "use suggested containers", commit)


class SessionContainerMethods:
    """The methods of a session that are about containers."""

    if TYPE_CHECKING:

        @property
        def _native(self) -> NativeSession: ...

    def set_container(
        self,
        name: str,
        template: str,
        *,
        defaults: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Define a place in which external files lie, or give one another definition.

        Parameters
        ----------
        name : str
            The name of the container.
        template : str
            A URL with ``{name}`` or ``{}`` for what differs from file to file, such as ``"s3://noaa/{year}/{}"``. It may
            also end where the files begin: ``"s3://noaa/"`` means ``"s3://noaa/{}"``.
        defaults : mapping, optional
            Values that are written into the template before it is matched.
        options : mapping, optional
            What a client needs beside the address, such as ``region`` and ``endpoint``. Never a secret.

        Raises
        ------
        InvalidError
            If the container exists, and files in it would get other URLs: where an archive has moved,
            `Session.move_dependencies` looks at the files in their new place.
        """
        definition = _definition(name, template, defaults, options)
        if any(known["name"] == name for known in self._native.staged_containers()):
            self._native.change_container(definition)
        else:
            self._native.add_container(definition)

    def add_container(
        self,
        name: str,
        template: str,
        *,
        defaults: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Define a container of a new name. Like `set_container`; a container of that name is an `InvalidError`."""
        self._native.add_container(_definition(name, template, defaults, options))

    def remove_container(self, name: str) -> None:
        """Stage the removal of a container.

        Raises
        ------
        NotFoundError
            If there is no container of that name.
        InvalidError
            If files lie in it.
        """
        self._native.remove_container(name)


def _definition(
    name: str, template: str, defaults: Mapping[str, str] | None, options: Mapping[str, str] | None
) -> tuple[str, str, dict[str, str], dict[str, str]]:
    """A container as the native calls take it."""
    if "{" not in template:
        template += "{}"
    return name, template, dict(defaults or {}), dict(options or {})
