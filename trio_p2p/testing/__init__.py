"""A testing kit for applications: networks in memory, with NATs of any behaviour and no socket.

:func:`open_memory_network` opens one.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._public import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """Import the public names when the first is asked for: pytest loads a plugin from here."""
        if not name.startswith("__"):
            _publish()
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        _publish()
        return sorted(globals())

    def _publish() -> None:
        for name, value in vars(_import_module(f"{__name__}._public")).items():
            if not name.startswith("_"):
                if hasattr(value, "__module__"):
                    value.__module__ = __name__
                globals()[name] = value


del TYPE_CHECKING  # no name of ours
