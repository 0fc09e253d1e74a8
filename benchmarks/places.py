"""Where benchmarks run, if the machine's own loopback interface would spoil them."""

from pathlib import Path

from trio_p2p._lab.namespaces import Namespace, enter_user_namespace_if_needed

_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def open_loopback_without_pacing() -> Namespace:
    """A loopback interface with a congestion control that leaves it alone.

    Raises:
        NamespacesUnavailableError: the machine does not let us make one.
    """
    enter_user_namespace_if_needed()
    place = Namespace("loopback")
    stop_pacing(place)
    return place


def stop_pacing(place: Namespace) -> None:
    """Have connections sped up and slowed down in the classic way.

    BBR, some machines' default, paces what it sends, and misjudges a connection without a delay:
    the same processes then are fast or slow, as it happens.
    """
    place.call(_CONGESTION_CONTROL.write_text, "reno")
