"""The settings of a broker that say how much it does, and for whom."""

from __future__ import annotations

import attrs

from .._broker.limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from .._broker.quota import DEFAULT_LIMITS, RelayLimits
from .setting_values import parse_count, parse_idle_time
from .settings import setting, switch


def _limit(name: str, help: str) -> int:  # noqa: A002 - as argparse has it
    """The setting of one of :class:`BrokerLimits`."""
    default: int = getattr(DEFAULT_BROKER_LIMITS, name)
    return setting(
        default,
        parse_count,
        "N",
        f"{help} (default: {default})",
        group="limits",
        is_reloaded=True,
    )


@attrs.frozen
class LimitSettings:
    """What is relayed, and what one source may ask for."""

    no_relay: bool = switch("relay nothing", group="relay", is_reloaded=True)
    relay_rate: int | None = setting(
        None,
        parse_count,
        "BYTES",
        "bytes per second for each circuit, both directions together (default: no limit)",
        group="relay",
        is_reloaded=True,
    )
    relay_bytes: int | None = setting(
        None,
        parse_count,
        "BYTES",
        "cut a circuit that has carried so many bytes (default: no limit)",
        group="relay",
        is_reloaded=True,
    )
    relay_total_rate: int | None = setting(
        None,
        parse_count,
        "BYTES",
        "bytes per second for all circuits together, which share them fairly (default: no limit)",
        group="relay",
        is_reloaded=True,
    )
    relay_rate_per_ip: int | None = setting(
        None,
        parse_count,
        "BYTES",
        "bytes per second for all circuits that one IP address has asked for (default: no limit)",
        group="relay",
        is_reloaded=True,
    )
    relay_bytes_per_ip: int | None = setting(
        None,
        parse_count,
        "BYTES",
        "bytes in an hour for all circuits that one IP address asks for (default: no limit)",
        group="relay",
        is_reloaded=True,
    )
    relay_circuits_per_ip: int = setting(
        DEFAULT_LIMITS.circuits_per_ip,
        parse_count,
        "N",
        "circuits at a time that one IP address may ask for (default: "
        f"{DEFAULT_LIMITS.circuits_per_ip})",
        group="relay",
        is_reloaded=True,
    )
    relay_circuits_per_identity: int = setting(
        DEFAULT_LIMITS.circuits_per_identity,
        parse_count,
        "N",
        f"circuits at a time for one receiver (default: {DEFAULT_LIMITS.circuits_per_identity})",
        group="relay",
        is_reloaded=True,
    )
    relay_idle: float = setting(
        DEFAULT_LIMITS.idle_time,
        parse_idle_time,
        "SECONDS",
        "cut a circuit on which nothing was said for so long, at least 10 (default: "
        f"{DEFAULT_LIMITS.idle_time:g})",
        group="relay",
        is_reloaded=True,
    )
    limit_connections: int = _limit("connections", "connections of one IP address at a time")
    limit_connection_rate: int = _limit(
        "connections_per_second", "more connections of one IP address each second"
    )
    limit_registrations: int = _limit(
        "registrations", "UIDs that one IP address may register at a time"
    )
    limit_introductions: int = _limit(
        "introductions", "introductions to one receiver for one IP address in 15 seconds"
    )
    limit_unknown_uids: int = _limit(
        "unknown_uids", "unknown UIDs that one IP address may ask for in a minute"
    )
    limit_guessings: int = _limit(
        "guessings", "introductions in which ports are guessed, for one IP address in a minute"
    )
    limit_reports: int = _limit("reports", "reports of one IP address that are counted in a minute")
    limit_watches: int = _limit("watches", "UIDs that one IP address may watch at a time")
    limit_probes: int = _limit("probes", "probes of one IP address that are answered in a minute")
    limit_message_rate: int = _limit(
        "messages_per_second", "messages to read from one connection each second"
    )
    limit_source_message_rate: int = _limit(
        "source_messages_per_second", "messages to read from all of one IP address each second"
    )
    limit_memory: int = _limit("memory", "bytes to hold for all clients, as the broker estimates")

    @property
    def relay(self) -> RelayLimits | None:
        """How much to relay; None for nothing."""
        if self.no_relay:
            return None
        return RelayLimits(
            bytes_per_second=self.relay_rate,
            max_bytes=self.relay_bytes,
            circuits_per_ip=self.relay_circuits_per_ip,
            circuits_per_identity=self.relay_circuits_per_identity,
            idle_time=self.relay_idle,
            total_bytes_per_second=self.relay_total_rate,
            bytes_per_second_per_ip=self.relay_rate_per_ip,
            bytes_per_ip=self.relay_bytes_per_ip,
        )

    @property
    def limits(self) -> BrokerLimits:
        """What one source may ask for, and all of them."""
        return BrokerLimits(
            connections=self.limit_connections,
            connections_per_second=self.limit_connection_rate,
            registrations=self.limit_registrations,
            introductions=self.limit_introductions,
            unknown_uids=self.limit_unknown_uids,
            guessings=self.limit_guessings,
            reports=self.limit_reports,
            watches=self.limit_watches,
            probes=self.limit_probes,
            messages_per_second=self.limit_message_rate,
            source_messages_per_second=self.limit_source_message_rate,
            memory=self.limit_memory,
        )
