"""The process that is the internet of a `UserspaceNetwork`.

What it does with packets is `trio_p2p.testing`'s, which stands on nothing but the standard library
there: so the process starts fast. This folder is found without the package `tests`, and all that
it needs.
"""
