"""Peers meet over IPv6 through firewalls, when IPv4 leads nowhere or is not there."""
