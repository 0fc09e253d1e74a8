"""TLS with the broker: whom to trust, and what goes wrong."""

from __future__ import annotations

import logging
import ssl

import trio

from .._addresses import Endpoint
from .._errors import BrokerUnreachableError, P2PError
from .._identity.key_pin import pin_of_untrusted
from .._net.barrier import Barrier
from .._net.tls_carrier import PASSES_ENDS_OF_TCP, TLSStream, carry, open_socket_pair
from .place import BrokerPlace

HANDSHAKE_TIME = 10.0  # seconds; two round trips

logger = logging.getLogger("trio_p2p.broker_client")


class BrokerTLS:
    """TLS with one broker.

    Args:
        place: where it is.
        nursery: of the tasks that carry relayed bytes.
    """

    def __init__(self, place: BrokerPlace, nursery: trio.Nursery) -> None:
        self._place = place
        self._nursery = nursery
        self._context: ssl.SSLContext | None = None
        self._session: ssl.SSLSession | None = None

    async def secure(self, transport: trio.SocketStream, remote: Endpoint) -> TLSStream:
        """Speak TLS on a connection, and make sure that it is the broker's.

        Args:
            transport: the connection.
            remote: where it leads to.

        Raises:
            BrokerUnreachableError: what is there does not speak TLS, or is not that broker.
        """
        if self._context is None:  # it reads many files
            self._context = _context_for(self._place)
        stream = trio.SSLStream(transport, self._context, server_hostname=self._place.host)
        # Each is resumed once, so that connections do not tell that they are of one client.
        session, self._session = self._session, None
        if session is not None:
            setattr(stream, "session", session)  # noqa: B010 - it has no type
        with trio.move_on_after(HANDSHAKE_TIME) as scope:
            try:
                await stream.do_handshake()
            except trio.BrokenResourceError as error:
                raise _failure(error.__cause__ or error, self._place, remote) from error
        if scope.cancelled_caught:
            raise BrokerUnreachableError(
                f"no trio-p2p broker answers in TLS at {remote} within {HANDSHAKE_TIME:g} seconds: "
                "check its address, and that it was started with --tls-cert"
            )
        if self._place.pin is not None:
            _check_pin(stream, self._place.pin, remote)
        return stream

    def keep_session(self, stream: TLSStream) -> None:
        """Have the next connection resume the session of one on which the broker has greeted."""
        self._session = stream.session

    def start_carrying(self, stream: TLSStream) -> trio.SocketStream:
        """A socket from and to which all is carried that is said over TLS from now on.

        Raises:
            P2PError: this host has no descriptors left.
        """
        try:
            near, far = open_socket_pair()
        except OSError as error:
            raise P2PError(f"this host cannot relay in TLS ({error.strerror})") from error
        self._nursery.start_soon(_carry_apart, stream, far)
        return near


async def _carry_apart(stream: TLSStream, plain: trio.SocketStream) -> None:
    with Barrier(logger, "carrying relayed bytes"):
        await carry(stream, plain)


def _context_for(place: BrokerPlace) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= PASSES_ENDS_OF_TCP
    if place.pin is not None:  # then nothing else has to be right
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_pin(stream: TLSStream, pin: bytes, remote: Endpoint) -> None:
    found = pin_of_untrusted(stream.getpeercert(binary_form=True))
    if found != pin:
        described = "none that is known here" if found is None else f"sha256={found.hex()}"
        raise BrokerUnreachableError(
            f"the broker at {remote} has another key than the pinned one, {described}: if its "
            "operator has changed it, change what is behind the # of the broker's address"
        )


def _failure(cause: BaseException, place: BrokerPlace, remote: Endpoint) -> BrokerUnreachableError:
    """What went wrong in a handshake, for people."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return BrokerUnreachableError(
            f"the certificate of the broker at {remote} does not prove that it is {place.host} "
            f"({cause.verify_message}): check the name, or pin its key with #sha256="
        )
    reason = cause.reason if isinstance(cause, ssl.SSLError) else None
    return BrokerUnreachableError(
        f"no trio-p2p broker speaks TLS at {remote} ({reason or cause}): check its address, that "
        "it was started with --tls-cert, and leave tls:// out if it was not"
    )
