"""Shows in signatures what callers have to know, and no more."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

REPLACED = [
    # What @asynccontextmanager makes of it.
    (
        re.compile(r"^~?(?:collections\.abc\.)?AsyncGenerator\[(.*)\]$"),
        r"AbstractAsyncContextManager[\1]",
    ),
    # What a text is parsed to: callers give the text.
    (re.compile(r" \| ~?trio_p2p\._broker_client\.place\.BrokerPlace"), ""),
    # Which of the two depends on the listener.
    (re.compile(r"~?trio_p2p\._listen\.listener\.S\b"), "P2PStream | trio.SocketStream"),
    # Defaults that have defaults of their own, which stand where they are documented.
    (re.compile(r"\b(BrokerLimits|RelayLimits)\([^)]*\)"), r"\1()"),
]


def shorten(
    _app: Sphinx,
    _what: str,
    _name: str,
    _value: object,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Replace parts of a signature, and of what is returned."""
    return shortened(signature), shortened(returned)


def shortened(text: str | None) -> str | None:
    """A part of a signature with everything replaced that is in the list."""
    if text is None:
        return None
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    return text


def setup(app: Sphinx) -> dict[str, bool]:
    """Have autodoc ask."""
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}
