"""All that can be set of ``trio-p2p-broker``: by an option, a variable, or a line of its file."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import attrs

from .._addresses import Endpoint
from .._broker.access import AccessFiles
from .._broker.tls import TLSFiles
from .._broker_client.place import DEFAULT_PORT
from .._errors import LocalProtocolError
from .._wire.messages import MAX_BROKERS
from .limit_settings import LimitSettings
from .setting_values import (
    LOG_LEVELS,
    parse_external,
    parse_file,
    parse_host,
    parse_log_format,
    parse_log_level,
    parse_network,
    parse_other_broker,
    parse_place,
    parse_port,
    parse_retry_after,
    parse_seconds,
    parse_status,
)
from .settings import setting, switch

GROUPS = {
    "access": "By default the broker is open to all. The files have an entry on each line, and "
    "comments behind #; they are read again when they change, and on SIGHUP.",
    "probes": "Peers find out what their NATs do by connecting to several endpoints of the broker, "
    "and by letting it call back. Two IP addresses tell the most.",
    "relay": "Peers that find no direct way to each other are relayed, within limits. What is "
    "relayed is encrypted between the peers. What holds for one IP address (IPv6: /64) holds for "
    "one proven identity, too.",
    "limits": "So much is done for one IP address (IPv6: /64), behind which there may be thousands "
    "of clients, and for one proven identity, and so much is held for all. More is refused for a "
    "time; registered receivers stay.",
    "ending": "SIGTERM drains the broker: it takes no new clients, tells those that it has, and "
    "ends when what it relays is over. A second signal ends it at once.",
    "status": "A page for people, metrics for Prometheus, and answers for what looks after "
    "processes. Takes `pip install trio-p2p[status]`.",
    "logs": "One line for each event, on standard error.",
}


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


@attrs.frozen
class BrokerSettings(LimitSettings):
    """The settings of a broker."""

    host: tuple[str, ...] = setting(
        (), parse_host, "HOST", "an address or a name to listen on (default: all interfaces)"
    )
    port: int = setting(
        DEFAULT_PORT,
        parse_port,
        "PORT",
        f"the TCP port to listen on, 0 for any free one (default: {DEFAULT_PORT})",
    )
    external: tuple[str, ...] = setting(
        (),
        str,
        "ADDRESS[:PORT]",
        "an endpoint at which peers find this broker, if a NAT or a proxy has it and not this "
        "host; the port is that of --port if none is given",
        is_reloaded=True,
    )
    tls_cert: str | None = setting(
        None,
        parse_file,
        "FILE",
        "speak TLS, with this certificate and those between it and an authority, in PEM; the file "
        "is read again on SIGHUP",
        is_reloaded=True,
    )
    tls_key: str | None = setting(
        None,
        parse_file,
        "FILE",
        "the private key of --tls-cert, in PEM",
        is_reloaded=True,
    )
    proxy_from: tuple[str, ...] = setting(
        (),
        parse_network,
        "ADDRESS[/PREFIX]",
        "proxies that say by the PROXY protocol, version 1 or 2, where a client comes from; what "
        "comes from there without that is closed",
        is_reloaded=True,
    )
    closed: bool = switch(
        "admit only peers and UIDs that --allow lists, and clients with an access token that "
        "`trio-p2p-broker token` has made",
        group="access",
        is_reloaded=True,
    )
    token_key: tuple[str, ...] = setting(
        (),
        parse_file,
        "FILE",
        "a key that access tokens may be signed with, in PEM: the private one, or its public half",
        group="access",
        is_reloaded=True,
    )
    allow: str | None = setting(
        None,
        parse_file,
        "FILE",
        "peer ids and UIDs (with * and ?) that a closed broker admits without a token",
        group="access",
        is_reloaded=True,
    )
    deny: str | None = setting(
        None,
        parse_file,
        "FILE",
        "peer ids and UIDs (with * and ?) that are not admitted, whatever else is said",
        group="access",
        is_reloaded=True,
    )
    revoked: str | None = setting(
        None,
        parse_file,
        "FILE",
        "ids of access tokens that are not valid any more",
        group="access",
        is_reloaded=True,
    )
    probe_port: int | None = setting(
        None,
        parse_port,
        "PORT",
        "the second TCP port to listen on, 0 for any free one (default: the one after --port)",
        group="probes",
    )
    probe_at: tuple[str, ...] = setting(
        (),
        parse_place,
        "HOST:PORT",
        "where peers can probe as well: another address of this broker, or another broker",
        group="probes",
        is_reloaded=True,
    )
    no_probes: bool = switch("no second port, and call no client back", group="probes")
    drain_grace: float = setting(
        30.0,
        parse_seconds,
        "SECONDS",
        "how long to wait for circuits to end before they are cut, 0 to end at once (default: 30)",
        group="ending",
        is_reloaded=True,
    )
    retry_after: float = setting(
        5.0,
        parse_retry_after,
        "SECONDS",
        "when clients are to come back, unless they are sent elsewhere (default: 5)",
        group="ending",
        is_reloaded=True,
    )
    move_to: tuple[str, ...] = setting(
        (),
        parse_other_broker,
        "HOST:PORT",
        "another broker, for clients to use at once; with tls:// in front if it speaks TLS",
        group="ending",
        is_reloaded=True,
    )
    status: str | None = setting(
        None,
        parse_status,
        "ADDRESS:PORT",
        "where to serve the status page, its metrics, /healthz and /readyz (default: nowhere)",
        group="status",
    )
    status_token: str | None = setting(
        None,
        str,
        "FILE",
        "a file with the token that the page and the metrics take; needed for any address but a "
        "loopback one",
        group="status",
        is_reloaded=True,
    )
    log_level: str = setting(
        "info",
        parse_log_level,
        "LEVEL",
        f"the least important lines to write: {', '.join(LOG_LEVELS)} (default: info)",
        group="logs",
        is_reloaded=True,
    )
    log_format: str = setting(
        "text",
        parse_log_format,
        "FORMAT",
        "text, or json for an object on each line (default: text)",
        group="logs",
        is_reloaded=True,
    )
    log_peers: bool = switch(
        "write UIDs, peer ids and addresses out; otherwise each is a pseudonym that differs each "
        "time the broker runs",
        group="logs",
        is_reloaded=True,
    )

    def check(self) -> None:
        """Check what no setting tells alone.

        Raises:
            LocalProtocolError: something is wrong.
        """
        _ = self.externals
        if len(self.move_to) > MAX_BROKERS:
            raise LocalProtocolError(
                f"move-to names {len(self.move_to)} brokers, and clients are told of up to "
                f"{MAX_BROKERS}: name those that they should try first"
            )
        if self.status is not None and self.status_token is None and not self._is_status_local:
            raise LocalProtocolError(
                f"others can reach the status page at {self.status}: say with --status-token what "
                "they need, or serve it at 127.0.0.1"
            )
        _ = self.access.read()
        if self.tls is not None:
            _ = self.tls.read()

    @property
    def _is_status_local(self) -> bool:
        assert self.status is not None
        host = self.status.rpartition(":")[0].removeprefix("[").removesuffix("]")
        return ipaddress.ip_address(host).is_loopback

    @property
    def externals(self) -> list[Endpoint]:
        """The endpoints at which peers find the broker.

        Raises:
            LocalProtocolError: one is wrong.
        """
        return [parse_external(text, self.port) for text in self.external]

    @property
    def tls(self) -> TLSFiles | None:
        """What to speak TLS with; None not to.

        Raises:
            LocalProtocolError: one file is missing.
        """
        if self.tls_cert is None and self.tls_key is None:
            return None
        if self.tls_cert is None or self.tls_key is None:
            raise LocalProtocolError("TLS takes both: give --tls-cert and --tls-key")
        return TLSFiles(Path(self.tls_cert), Path(self.tls_key))

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """The networks of proxies."""
        return list(map(ipaddress.ip_network, self.proxy_from))

    @property
    def access(self) -> AccessFiles:
        """Who may use the broker."""
        keys = tuple(Path(name) for name in self.token_key)
        return AccessFiles(
            self.closed, keys, _path(self.allow), _path(self.deny), _path(self.revoked)
        )

    @property
    def second_port(self) -> int | None:
        """The port for probes, 0 for any; None for none."""
        if self.no_probes:
            return None
        if self.probe_port is not None:
            return self.probe_port
        return self.port + 1 if 0 < self.port < 65535 else 0
