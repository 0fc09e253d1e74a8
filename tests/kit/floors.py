"""The floors of the package: what may import and call what."""

# From the top down. A module may import from lower lines only, and from its own folder. What
# stands on one line knows nothing of each other.
FLOORS = [
    ["trio_p2p", "_commands"],
    ["_public"],
    ["_doctor", "_files", "_highlevel", "_lab", "testing"],
    ["_peer"],
    ["_connect", "_listen"],
    ["_control"],
    ["_options"],
    ["_nat"],
    ["_broker", "_broker_client", "_portmap", "_stream", "_traversal"],
    ["_net"],
    ["_wire"],
    ["_identity"],
    ["_errors", "_peer_connection"],
    ["_attempt"],
    ["_addresses"],
]
