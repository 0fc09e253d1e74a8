"""Stand-ins for a peer's connections to the broker, for tests that never connect."""

from types import SimpleNamespace
from typing import cast

from trio_p2p import Technique
from trio_p2p._control.control import Control
from trio_p2p._control.controls import Controls


def control_by(ip_version: int) -> Control:
    """A connection by a version of IP, and no more."""
    return cast("Control", SimpleNamespace(ip_version=ip_version))


class FakeControls(list[Control]):
    """Connections by versions of IP."""

    def __init__(self, *ip_versions: int) -> None:
        super().__init__(map(control_by, ip_versions))
        self.options = SimpleNamespace(techniques=(Technique.FAST,))


def controls_by(*ip_versions: int) -> Controls:
    """Connections by these versions of IP."""
    return cast("Controls", FakeControls(*ip_versions))
