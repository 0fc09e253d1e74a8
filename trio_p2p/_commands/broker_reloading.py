"""The settings of the broker's command: loaded when it starts, and again while it runs."""

from __future__ import annotations

import logging
from pathlib import Path

import trio

from .._addresses import Endpoint
from .._broker.access import Access
from .._broker.server import Broker
from .._broker.tls import BrokerTLS
from .._broker_client.place import parse_broker
from .._broker_client.resolve import resolve_broker
from .._errors import BrokerUnreachableError, LocalProtocolError
from .broker_logs import begin_logging
from .broker_settings import BrokerSettings
from .settings import Sources, load_settings, not_reloaded, taken_over
from .status.access import Access as StatusAccess
from .status.serving import check_installed, read_token

RESOLVE_TIME = 5.0  # seconds for the names of where to probe, while the broker runs

logger = logging.getLogger("trio_p2p.broker")


def load(sources: Sources) -> BrokerSettings:
    """The settings in effect, as far as can be told without a network.

    Raises:
        LocalProtocolError: one is wrong.
    """
    settings = load_settings(BrokerSettings, sources)
    settings.check()
    if settings.status is not None:
        check_installed()
    _ = status_token(settings)
    return settings


def status_token(settings: BrokerSettings) -> str | None:
    """The token that the status page takes, if it takes one.

    Raises:
        LocalProtocolError: there is none that is any good in the file.
    """
    return None if settings.status_token is None else read_token(Path(settings.status_token))


def log_as(settings: BrokerSettings) -> None:
    """Write log lines as the settings say."""
    begin_logging(settings.log_level, settings.log_format, shows_peers=settings.log_peers)


async def resolve_probes(settings: BrokerSettings) -> list[Endpoint]:
    """Where else peers can probe.

    Raises:
        BrokerUnreachableError: a name cannot be resolved.
    """
    return [
        endpoint
        for place in settings.probe_at
        for endpoint in await resolve_broker(parse_broker(place))
    ]


class Reloading:
    """Takes settings over that have changed, without dropping any client.

    Args:
        settings: those that the broker was started with.
        sources: where they come from.
        broker: runs by them.
        access: who may use it.
        tls: what it speaks TLS with.
        status_access: who may see its status page.

    Attributes:
        settings: those in effect.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        sources: Sources,
        broker: Broker,
        access: Access,
        tls: BrokerTLS,
        *,
        status_access: StatusAccess,
    ) -> None:
        self.settings: BrokerSettings = settings
        self._sources = sources
        self._broker = broker
        self._access = access
        self._tls = tls
        self._status_access = status_access

    async def reload(self) -> None:
        """Load the settings again, and go on with them; with the former ones if one is wrong."""
        try:
            await self._reload()
        except (LocalProtocolError, BrokerUnreachableError) as error:
            logger.warning("nothing is reloaded: %s", error)
        else:
            logger.info("settings reloaded")

    async def _reload(self) -> None:
        wanted = load(self._sources)
        settings = taken_over(self.settings, wanted)
        settings.check()  # as they may be wrong together with those that are not taken over
        token = status_token(settings)
        probe_at: list[Endpoint] | None = None
        with trio.move_on_after(RESOLVE_TIME):
            probe_at = await resolve_probes(settings)
        if probe_at is None:
            raise BrokerUnreachableError(
                f"the names of probe-at are not resolved within {RESOLVE_TIME:g} seconds"
            )
        self._status_access.token = token
        self._tls.reload(settings.tls)
        self._access.reload(settings.access)
        self._broker.reload(
            relay=settings.relay,
            limits=settings.limits,
            external=settings.externals,
            proxies=settings.proxies,
            probe_at=probe_at,
        )
        names = not_reloaded(self.settings, wanted)
        if names:
            logger.warning("to change %s, start the broker again", ", ".join(names))
        self.settings = settings
        log_as(settings)
