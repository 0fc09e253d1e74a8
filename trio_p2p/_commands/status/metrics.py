"""The metrics of a broker, in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..._attempt import Technique
from ..._broker.counts import DURATIONS, Counts
from ..._wire.messages import RefusalCode
from .overview import Overview

PREFIX = "trio_p2p_broker_"


class Metrics:
    """What is scraped.

    Args:
        overview: where it comes from.
    """

    def __init__(self, overview: Overview) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_BrokerCollector(overview))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """All metrics, as text."""
        return generate_latest(self._registry)


class _BrokerCollector(Collector):
    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def collect(self) -> Iterator[Metric]:
        figures, counts = self._overview.figures, self._overview.counts
        for name, value, text in (
            ("receivers", figures.receivers, "UIDs that are registered now"),
            ("connections", figures.connections, "Clients that are connected now"),
            ("circuits", figures.circuits, "Connections between peers that are relayed now"),
            (
                "pending_introductions",
                figures.pending_introductions,
                "Senders that wait for a receiver's answer now",
            ),
            ("draining", figures.is_draining, "1 while the broker is being stopped, else 0"),
            (
                "event_loop_delay_seconds",
                self._overview.health.look().loop_delay,
                "By how much a task has run too late at most in the last ten seconds",
            ),
        ):
            yield GaugeMetricFamily(PREFIX + name, text, value=float(value))
        for name, value, text in (
            ("registrations", counts.registrations, "Receivers that have registered"),
            ("relayed_bytes", figures.relayed_bytes, "Bytes that were relayed, both directions"),
            ("circuits_ended", counts.circuits, "Relayed connections that have ended"),
        ):
            yield CounterMetricFamily(PREFIX + name, text, value=float(value))
        yield from _labelled(counts)
        yield _durations(counts)


def _labelled(counts: Counts) -> Iterator[Metric]:
    introductions = CounterMetricFamily(
        f"{PREFIX}introductions", "Requests that were passed on", labels=["technique"]
    )
    for technique in Technique:
        introductions.add_metric([technique.value], counts.introductions[technique])
    yield introductions
    outcomes = CounterMetricFamily(
        f"{PREFIX}outcomes",
        "Searches for a direct connection that senders have reported, by what was found",
        labels=["technique"],
    )
    for found in (Technique.FAST, Technique.CLASSIC, None):
        outcomes.add_metric([found.value if found else "none"], counts.outcomes[found])
    yield outcomes
    pairs = CounterMetricFamily(
        f"{PREFIX}outcomes_by_mapping",
        "The same, by what the mappings of both peers' NATs depend on",
        labels=["sender", "receiver", "connected"],
    )
    for connected, counted in (("yes", counts.found), ("no", counts.missed)):
        for (sender, receiver), count in counted.items():
            labels = [
                sender.value if sender else "unknown",
                receiver.value if receiver else "unknown",
            ]
            pairs.add_metric([*labels, connected], count)
    yield pairs
    refusals = CounterMetricFamily(
        f"{PREFIX}refusals", "What clients were refused", labels=["code"]
    )
    for code in RefusalCode:
        refusals.add_metric([code.value], counts.refusals[code])
    yield refusals


def _durations(counts: Counts) -> Metric:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*DURATIONS, None), counts.durations, strict=True):
        total += count
        buckets.append(("+Inf" if bound is None else str(bound), float(total)))
    return HistogramMetricFamily(
        f"{PREFIX}search_duration_seconds",
        "How long searches took that found a direct connection",
        buckets=buckets,
        sum_value=counts.duration,
    )
