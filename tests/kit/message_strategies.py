"""Hypothesis strategies for every message, valid ones only."""

from ipaddress import IPv6Address

import attrs
from hypothesis import strategies as st

from trio_p2p._addresses import Endpoint
from trio_p2p._attempt import Outcome, Technique
from trio_p2p._wire.fields import MAX_BROKERS, MAX_DURATION, MAX_IDLE_TIME, MAX_RETRY_AFTER
from trio_p2p._wire.messages import (
    CHALLENGE_BYTES,
    ID_BYTES,
    INSTANCE_BYTES,
    MAX_CERTIFICATE_BYTES,
    MAX_COUNT,
    MAX_PROBES,
    MAX_ROUND_TRIP,
    MAX_TOKEN_BYTES,
    MAX_UID_BYTES,
    MESSAGE_TYPES,
    NONCE_BYTES,
    ORIGIN_BYTES,
    SIGNATURE_BYTES,
    CallSource,
    Message,
    RefusalCode,
    StreamKind,
)
from trio_p2p._wire.offer import (
    MAX_CANDIDATES,
    MAX_STEP,
    Allocation,
    Behaviour,
    Candidate,
    CandidateKind,
    Nat,
    Offer,
    Opening,
)


def _is_not_mapped(endpoint: Endpoint) -> bool:
    address = endpoint.address
    return not isinstance(address, IPv6Address) or address.ipv4_mapped is None


_ids = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)
_printable = st.characters(categories=["L", "N", "P", "S"])
_texts = st.text(_printable, max_size=128)  # of at most 4 bytes each
_numbers = st.integers(0, 2**32 - 1)

uids = st.text(_printable, min_size=1, max_size=MAX_UID_BYTES // 4)
endpoints = st.builds(Endpoint, st.ip_addresses(), st.integers(1, 65535)).filter(_is_not_mapped)

offers = st.builds(
    Offer,
    st.builds(
        Nat,
        st.none() | st.sampled_from(Behaviour),
        st.none() | st.sampled_from(Behaviour),
        st.none() | st.sampled_from(Allocation),
        st.integers(-MAX_STEP, MAX_STEP),
    ),
    st.lists(
        st.builds(Candidate, st.sampled_from(CandidateKind), endpoints), max_size=MAX_CANDIDATES
    ).map(tuple),
    st.booleans(),
    st.sampled_from(Opening),
)

_FIELDS: dict[str, st.SearchStrategy[object]] = {
    "version": st.integers(0, 2**16 - 1),
    "capabilities": st.lists(st.text(_printable, max_size=16), max_size=32).map(tuple),
    "uid": uids,
    "token": st.binary(min_size=1, max_size=MAX_TOKEN_BYTES),
    "wants_proof": st.booleans(),
    "challenge": st.binary(min_size=CHALLENGE_BYTES, max_size=CHALLENGE_BYTES),
    "certificate": st.binary(min_size=1, max_size=MAX_CERTIFICATE_BYTES),
    "signature": st.binary(min_size=SIGNATURE_BYTES, max_size=SIGNATURE_BYTES),
    "endpoint": endpoints,
    "broker": endpoints,
    "proof": st.binary(min_size=SIGNATURE_BYTES, max_size=SIGNATURE_BYTES),
    "origin": st.binary(min_size=ORIGIN_BYTES, max_size=ORIGIN_BYTES),
    "retry_after": st.integers(1, MAX_RETRY_AFTER),
    "idle_time": st.integers(1, MAX_IDLE_TIME),
    "number": _numbers,
    "technique": st.sampled_from(["fast", "classic", "relay"]) | _texts,
    "stream": st.sampled_from(StreamKind),
    "introduction": _ids,
    "search": _ids,
    "instance": st.binary(min_size=INSTANCE_BYTES, max_size=INSTANCE_BYTES),
    "registration": _numbers,
    "circuit": _ids,
    "bytes_per_second": st.integers(1, MAX_COUNT),
    "max_bytes": st.integers(1, MAX_COUNT),
    "nonce": st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES),
    "offer": offers,
    "probe_port": st.integers(1, 65535),
    "probes": st.lists(endpoints, max_size=MAX_PROBES).map(tuple),
    "source": st.sampled_from(CallSource),
    "same_address": st.sampled_from(Outcome),
    "other_address": st.sampled_from(Outcome),
    "round_trip": st.integers(0, MAX_ROUND_TRIP),
    "code": st.sampled_from(RefusalCode),
    "reason": _texts,
    "brokers": st.lists(uids, max_size=MAX_BROKERS).map(tuple),
    "duration": st.integers(0, MAX_DURATION),
    "connected_by": st.sampled_from(Technique),
    "mapping": st.sampled_from(Behaviour),
    "peer_mapping": st.sampled_from(Behaviour),
}


def message_strategy() -> st.SearchStrategy[Message]:
    """Any valid message."""
    return st.one_of(*map(_strategy_of, MESSAGE_TYPES))


def _strategy_of(cls: type[Message]) -> st.SearchStrategy[Message]:
    return st.builds(
        cls,
        **{
            field.name: _FIELDS[field.name]
            if field.default is not None
            else st.none() | _FIELDS[field.name]
            for field in attrs.fields(cls)
        },
    )
