"""What a call passes through: the folders of the package that open_stream enters, in their order.

Counted is the second connection to a receiver, when everything that is made once has been made.
Upward calls are looked for in the first one, too, which makes all that, and in a raw one. A call
from a function of one folder into a function of another one enters that; a module in the package
itself counts as a folder. Calls into a higher floor are callbacks: to follow them one has to know
what stands above.
"""

import contextvars
import enum
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FrameType

import attrs
import trio

import trio_p2p
from tests.kit.floors import FLOORS
from tests.kit.loopback import echo, exchange, open_broker
from trio_p2p import open_peer

from .tables import Table

MAX_ENTERED = 10  # times that the caller's own task enters another folder
MAX_UPWARD = 0

_PACKAGE = Path(trio_p2p.__file__).parent
_FLOOR_OF = {folder: floor for floor, folders in enumerate(FLOORS) for folder in folders}
_UID = "receiver"

# Of the design with P2PSender, at commit 5b8ff7a, found in the same way.
EARLIER = (
    "_peer → _options: parse_uid",
    "_options → _wire: check_uid",
    "_options → _identity: looks_like_peer_id",
    "_peer → _options: parse_expected",
    "_options → _identity: looks_like_peer_id",
    "_peer → _options: check_flag",
    "_peer → _options: check_callback",
    "_peer → _connect: Connector.open_session",
    "_connect → _options: parse_path",
    "_connect → _stream: Session.__init__",
    "_connect → _stream: Carrier.__init__",
    "_connect → _stream: P2PStream.__init__",
)
EARLIER_UPWARD_BY_TASKS = (
    "_traversal → _connect: open_in_rounds.<locals>.note",
    "_net → _traversal: CheckedSocket._pass_on.<locals>.method",
    "_broker_client → _connect: AttemptLog.note",
)
EARLIER_FOLDERS_OF_TASKS = 11


class Way(enum.Enum):
    """Which stream to follow."""

    FIRST = "the first stream"
    SECOND_CONNECTION = "a second one, when the connection of the first one is closed"
    SECOND_STREAM = "a second one over that connection"
    RAW = "the first raw stream"


_NOTES = (
    (
        f"The limits: the caller's own task enters another folder at most {MAX_ENTERED} times, "
        f"and calls upward, its own and of tasks begun for it, are at most {MAX_UPWARD}, "
        f"also when what is opened is {', or '.join(way.value for way in Way)}."
    ),
    (
        "P2PSender is the earlier design, recorded once at commit 5b8ff7a. Its tasks called "
        f"upward: {'; '.join(EARLIER_UPWARD_BY_TASKS)}."
    ),
)


@attrs.frozen
class Call:
    """A call from one folder into another one.

    Attributes:
        source: the caller's folder.
        target: the called function's.
        function: its name.
    """

    source: str
    target: str
    function: str

    @property
    def is_upward(self) -> bool:
        return _FLOOR_OF[self.target] < _FLOOR_OF[self.source]

    def __str__(self) -> str:
        return f"{self.source} → {self.target}: {self.function}"


@attrs.frozen
class CallPath:
    """What one call of open_stream has entered.

    Attributes:
        own: by the caller's task, in order.
        by_tasks: by tasks that were begun for it.
    """

    own: Sequence[Call]
    by_tasks: Sequence[Call]

    @property
    def folders(self) -> set[str]:
        """All that were entered, by any task."""
        return {each for call in [*self.own, *self.by_tasks] for each in (call.source, call.target)}


class _Recorder:
    """A profile function that notes the calls of one task, and of those that it begins."""

    def __init__(self) -> None:
        self.own: list[Call] = []
        self.by_tasks: list[Call] = []
        self._task = trio.lowlevel.current_task()
        # A task inherits the context of the one that has begun it.
        self._is_followed = contextvars.ContextVar("is_followed", default=False)
        self._frames: set[FrameType] = set()  # a coroutine is called once, and resumed often

    def __enter__(self) -> None:
        self._is_followed.set(True)
        sys.setprofile(self._note)

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(None)
        self._is_followed.set(False)
        self._frames.clear()

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not self._is_followed.get() or frame in self._frames:
            return
        target = _folder_of(frame.f_code)
        if target is None:
            return
        self._frames.add(frame)
        source = _source_of(frame)
        if source is not None and source != target:
            is_own = trio.lowlevel.current_task() is self._task
            calls = self.own if is_own else self.by_tasks
            calls.append(Call(source, target, frame.f_code.co_qualname))


def _folder_of(code: CodeType) -> str | None:
    path = Path(code.co_filename)
    if not path.is_relative_to(_PACKAGE):
        return None
    return path.relative_to(_PACKAGE).with_suffix("").parts[0]


def _source_of(frame: FrameType) -> str | None:
    """The folder of the nearest caller in the package; None if there is none."""
    caller = frame.f_back
    while caller is not None:
        folder = _folder_of(caller.f_code)
        if folder is not None:
            return folder
        caller = caller.f_back
    return None


async def follow_stream(way: Way) -> CallPath:
    """What the call enters that opens a stream, and what the tasks enter that it begins."""
    async with (
        open_broker() as broker,
        open_peer(broker.address) as receiver,
        open_peer(broker.address) as sender,
        trio.open_nursery() as nursery,
    ):
        recorder = _Recorder()
        if way is Way.RAW:
            async with receiver.listen_raw(_UID):
                with recorder:
                    raw = await sender.open_raw_stream(_UID)
                await raw.aclose()
        else:
            await nursery.start(receiver.serve, _UID, echo)
            async with AsyncExitStack() as stack:
                if way is not Way.FIRST:
                    first = await stack.enter_async_context(await sender.open_stream(_UID))
                    await exchange(first, b"some bytes")
                    if way is Way.SECOND_CONNECTION:
                        await first.connection.aclose()
                with recorder:
                    stream = await sender.open_stream(_UID)
                await stack.enter_async_context(stream)
                await exchange(stream, b"some bytes")
        nursery.cancel_scope.cancel(reason="all is measured")
    return CallPath(recorder.own, recorder.by_tasks)


def measure() -> Table:
    paths = {way: trio.run(follow_stream, way) for way in Way}
    path = paths[Way.SECOND_CONNECTION]
    upward = [call for call in path.own if call.is_upward]
    upward_by_tasks = {str(call) for call in path.by_tasks if call.is_upward}
    steps = zip_longest(map(str, path.own), EARLIER, fillvalue="–")
    counts = (
        ("entered in all", len(path.own), len(EARLIER)),
        ("of these upward", len(upward), 0),
        ("upward by tasks begun for it", len(upward_by_tasks), len(EARLIER_UPWARD_BY_TASKS)),
        ("folders, with these tasks", len(path.folders), EARLIER_FOLDERS_OF_TASKS),
    )
    return Table(
        "What the call enters that opens a stream, and the second connection to a receiver",
        ("", "Peer.open_stream", "P2PSender.open_stream"),
        (
            *((str(number), *step) for number, step in enumerate(steps, start=1)),
            *((what, str(now), str(earlier)) for what, now, earlier in counts),
        ),
        _NOTES,
        (*_exceeded(path), *_upward(paths)),
    )


def _exceeded(path: CallPath) -> list[str]:
    if len(path.own) > MAX_ENTERED:
        return [f"another folder is entered {len(path.own)} times"]
    return []


def _upward(paths: Mapping[Way, CallPath]) -> list[str]:
    return [
        f"{call} is upward: {way.value}"
        for way, path in paths.items()
        for call in [*path.own, *path.by_tasks]
        if call.is_upward
    ]
