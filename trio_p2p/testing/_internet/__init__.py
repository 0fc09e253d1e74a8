"""An internet that passes packets between hosts, with NATs of any behaviour around it.

It opens no socket and reads no clock: packets go in with the time, and come out by a callback. The
memory network stands on it, and so does the NAT lab of the project's own tests, whose process
imports nothing but the standard library besides.
"""
