"""TCP connections between Trio programs that sit behind NATs.

A :class:`Peer` (:func:`open_peer`) listens under names that it registers with a broker, and opens
streams to other peers by theirs. :func:`open_p2p_stream`, :func:`open_p2p_listener` and
:func:`serve_p2p` are short for a peer with one purpose. :func:`serve_broker` is the broker.
"""

import logging as _logging
from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._broker import *  # noqa: F403 - two lists of what is public
    from ._public import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """Import the public names when the first is asked for; a broker's only for one of these.

        To load them takes as long as to load Trio, which not every program has a use for.
        """
        if name == "__all__":  # of from trio_p2p import *
            return [each for each in __dir__() if not each.startswith("_")]
        for room in ("_public", "_broker"):
            if not name.startswith("_"):
                _publish(room)
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        for room in ("_public", "_broker"):
            _publish(room)
        return sorted(globals())

    def _publish(room: str) -> None:
        """Have the public names of a module or package, and no modules of it."""
        for name, value in vars(_import_module(f"{__name__}.{room}")).items():
            if not name.startswith("_") and hasattr(value, "__module__"):
                # Tracebacks and documentation speak of the names that users import.
                value.__module__ = __name__
                globals()[name] = value


# Silent, unless the application asks for our logs.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())

del TYPE_CHECKING  # no name of ours
