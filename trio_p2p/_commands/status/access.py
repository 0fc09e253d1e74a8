"""Who may see the status of a broker. Sans-IO."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import attrs

COOKIE = "trio_p2p_status"
MIN_TOKEN = 16  # characters


@attrs.define
class Access:
    """What a request has to bring.

    Attributes:
        token: the secret; None if none is needed, which takes a loopback address. Another one holds
            from the moment on that it is put here.
    """

    token: str | None = attrs.field(repr=False)

    def is_granted_untrusted(self, headers: Mapping[str, str], query: str) -> bool:
        """Whether a request may see anything.

        Without a token, requests have to name a loopback address: a page of the internet whose name
        was made to lead there (DNS rebinding) names its own.

        Args:
            headers: by names in lower case.
            query: what stands behind the question mark.
        """
        if self.token is None:
            return _is_loopback_untrusted(headers.get("host", ""))
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = [bearer.strip()] if scheme.lower() == "bearer" else []
        given += [_cookie_untrusted(headers.get("cookie", "")), self.named_untrusted(query)]
        return any(self._is_token(each) for each in given)

    def is_named_untrusted(self, query: str) -> bool:
        """Whether the token stands in the address, where it should not stay."""
        return self._is_token(self.named_untrusted(query))

    def named_untrusted(self, query: str) -> str:
        """What stands in the address as the token."""
        try:
            values = parse_qs(query, max_num_fields=16).get("token", [""])
        except ValueError:
            return ""
        return values[0]

    def cookie(self) -> str:
        """What has a browser show the token from now on."""
        return f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def _is_token(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


def _cookie_untrusted(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _is_loopback_untrusted(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
