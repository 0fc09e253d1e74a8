"""Sessions in the states that tests want, and what they say."""

from collections.abc import Iterable

from hypothesis import strategies as st

from trio_p2p._stream.frames import Kind, PathHello, header
from trio_p2p._stream.session import Session
from trio_p2p._stream.session_sink import sink_of
from trio_p2p._stream.states import SessionRole

from ..kit.session_pair import IDENTIFIER, INSTANCES, Pair, PlainSession
from ..kit.sinks import Said, feed, frames_of

NOW = 1000.0
WINDOW = 1 << 19
ROLES = st.sampled_from(SessionRole)


def connected(window: int = WINDOW) -> Pair:
    """Both sides, greeted, and nothing on its way."""
    pair = Pair(window)
    pair.open()
    pair.run()
    return pair


def make_session(role: SessionRole = SessionRole.OPENER) -> PlainSession:
    """A session that has had no path yet."""
    return PlainSession(role, WINDOW, NOW)


def hello_of(
    role: SessionRole,
    path: int = 1,
    *,
    received: int = 0,
    session: bytes = IDENTIFIER,
    is_new: bool = False,
) -> PathHello:
    """What a side says at the beginning of a path."""
    return PathHello(received, session, path, WINDOW, INSTANCES[role], is_new=is_new)


def greeted(path: int = 1, received: int = 0) -> PlainSession:
    """An acceptor that an opener has greeted, which has said nothing yet."""
    session = make_session(SessionRole.ACCEPTOR)
    hello = hello_of(SessionRole.OPENER, path, received=received, is_new=True)
    assert session.accept_path(hello, NOW)
    session.pieces_to_send(NOW)
    return session


def said_by(session: Session, now: float = NOW) -> list[Said]:
    """All that it has to say."""
    said = b""
    while pieces := session.pieces_to_send(now):
        said += b"".join(pieces)
    return frames_of(said)


def kinds(frames: Iterable[Said]) -> list[Kind]:
    return [frame.kind for frame in frames]


def take(session: Session, *frames: bytes, now: float = NOW) -> None:
    for frame in frames:
        feed(sink_of(session, now), frame)


def data_frame(offset: int, data: bytes) -> bytes:
    return header(Kind.DATA, offset, len(data)) + data
