"""Trust on first use, as SSH has it: who answered to a UID once must be who answers the next time.

The file has one line per receiver, a JSON list of the broker, the UID and the peer id. A line with
an empty broker is a name that the user has given a peer. Every change replaces the file as a whole,
so that who reads it needs no lock; who changes it holds the lock of a file beside it.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import attrs

from .._errors import WrongPeerError
from .._identity.peer_id import PeerId, looks_like_peer_id
from .identity_file import configuration_directory, configuration_path
from .run import CommandError

_Receiver: TypeAlias = tuple[str, str]  # the broker, as HOST:PORT, and the UID there


@attrs.frozen
class KnownPeer:
    """A peer that is remembered.

    Attributes:
        broker: where it has answered, as HOST:PORT; empty if the user has named it.
        uid: the UID that it has answered to, or the name.
        peer_id: who it is.
    """

    broker: str
    uid: str
    peer_id: PeerId

    def is_called(self, text: str) -> bool:
        """Whether this is its UID, its name or its peer id."""
        return text in (self.uid, str(self.peer_id))


class KnownPeers:
    """The peers that have answered to this user.

    Args:
        path: the file, or None for ``known_peers`` in the user's configuration directory. It need
            not exist; the directory is made when there is something to remember.

    Raises:
        CommandError: this user has no configuration directory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._is_of_user = path is None
        self._path = configuration_path() / "known_peers" if path is None else path

    def lookup(self, broker: tuple[str, int], uid: str) -> PeerId | None:
        """The peer that answered to a UID the first time, or None if none has yet.

        Raises:
            CommandError: the file cannot be read, or has a corrupt line.
        """
        return self._peers_in(self._read()).get(_receiver(broker, uid))

    def named(self, name: str) -> PeerId | None:
        """The peer that the user has given a name, or None.

        Raises:
            CommandError: the file cannot be read, or has a corrupt line.
        """
        return self._peers_in(self._read()).get(("", name))

    def all(self) -> list[KnownPeer]:
        """All that is remembered.

        Raises:
            CommandError: the file cannot be read, or has a corrupt line.
        """
        peers = self._peers_in(self._read())
        return [KnownPeer(broker, uid, peer_id) for (broker, uid), peer_id in peers.items()]

    def name(self, name: str, peer_id: PeerId) -> None:
        """Give a peer a name, instead of the peer that has had it.

        Raises:
            CommandError: as :meth:`remember`.
        """
        line = json.dumps(["", name, str(peer_id)])
        self._keep(lambda peer: (peer.broker, peer.uid) != ("", name), line)

    def forget(self, is_meant: Callable[[KnownPeer], bool]) -> list[KnownPeer]:
        """Forget some peers, and return what was remembered of them.

        Raises:
            CommandError: as :meth:`remember`.
        """
        return self._keep(lambda peer: not is_meant(peer))

    def _keep(self, is_kept: Callable[[KnownPeer], bool], *more: str) -> list[KnownPeer]:
        """Keep some lines, and add others; what is not kept."""
        if self._is_of_user:
            configuration_directory()
        with self._explained("written"), self._locked():
            text = self._read()
            self._peers_in(text)  # no line is corrupt
            lines = [line for line in text.split("\n") if line]
            peers = [KnownPeer(*receiver, peer_id) for receiver, peer_id in map(_parse, lines)]
            kept = [line for line, peer in zip(lines, peers, strict=True) if is_kept(peer)]
            self._replace("".join(f"{line}\n" for line in (*kept, *more)))
        return [peer for peer in peers if not is_kept(peer)]

    def remember(self, broker: tuple[str, int], uid: str, peer_id: PeerId) -> None:
        """Keep who answered to a UID; a UID that is a peer id says so itself and is not kept.

        Raises:
            CommandError: the file cannot be read or written, or has a corrupt line; or its
                directory cannot be made.
            WrongPeerError: another peer has been remembered, maybe by another process just now.
        """
        if looks_like_peer_id(uid):
            return
        if self._is_of_user:
            configuration_directory()
        with self._explained("written"), self._locked():
            text = self._read()
            receiver = _receiver(broker, uid)
            known = self._peers_in(text).get(receiver)
            if known is None:
                end = "\n" if text and not text.endswith("\n") else ""
                line = json.dumps([*receiver, str(peer_id)])
                self._replace(f"{text}{end}{line}\n")
            elif known != peer_id:
                raise self.changed_peer_error(broker, uid, known=known, found=peer_id)

    def changed_peer_error(
        self, broker: tuple[str, int], uid: str, *, known: PeerId, found: PeerId | None
    ) -> WrongPeerError:
        """The error to raise when another peer answers to a UID than the first time.

        Args:
            broker: host and port.
            uid: the UID.
            known: the peer that answered the first time.
            found: the peer that answered now, or None if it could not prove its peer id.
        """
        answered = "a peer without proof of its peer id" if found is None else found
        host_and_port, _ = _receiver(broker, uid)
        return WrongPeerError(
            f"the peer behind {uid!r} at {host_and_port} is not the one it was: {answered} "
            f"answers, and it used to be {known}. Another program may be impersonating it. If "
            f"you know why it changed, run `trio-p2p peers forget {shlex.quote(uid)}` and connect "
            "again",
            expected=known,
            found=found,
        )

    def _peers_in(self, text: str) -> dict[_Receiver, PeerId]:
        peers: dict[_Receiver, PeerId] = {}
        for number, line in enumerate(text.split("\n"), 1):
            if not line:
                continue
            try:
                receiver, peer_id = _parse(line)
            except (ValueError, RecursionError) as error:
                raise CommandError(
                    f"line {number} of {self._path} is corrupt: remove it, then the peer in it is "
                    "trusted again when it next answers"
                ) from error
            if peers.setdefault(receiver, peer_id) != peer_id:
                raise CommandError(
                    f"line {number} of {self._path} contradicts an earlier line about the same "
                    "UID: remove one of them"
                )
        return peers

    def _read(self) -> str:
        with self._explained("read"):
            try:
                data = self._path.read_bytes()
            except FileNotFoundError:
                return ""
        # What is not UTF-8 makes its line corrupt, and no other.
        return data.decode("utf-8", "surrogateescape")

    def _replace(self, text: str) -> None:
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - replacing moves it away
            dir=self._path.parent, prefix=".known_peers-", delete=False
        )
        try:
            with file:  # others may not read it: its mode is 0600
                file.write(text.encode("utf-8", "surrogateescape"))
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Hold the lock, which lasts until the descriptor is closed, or this process ends."""
        import fcntl  # noqa: PLC0415 - which Windows has not

        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _explained(self, done: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise CommandError(
                f"the known peers in {self._path} cannot be {done}: {error.strerror}"
            ) from error


def _receiver(broker: tuple[str, int], uid: str) -> _Receiver:
    host, port = broker
    shown = f"[{host}]" if ":" in host else host
    return f"{shown.lower()}:{port}", uid


def _parse(line: str) -> tuple[_Receiver, PeerId]:
    """The entry in a line; ValueError if there is none."""
    match json.loads(line.encode()):  # encoded, so that what was no UTF-8 is an error
        case [str(broker), str(uid), str(peer_id)]:
            return (broker, uid), PeerId.parse(peer_id)
        case _:
            raise ValueError("not a list of three texts")
