"""Metrics as text: what :mod:`.metrics` has found, and what its process takes, by
prometheus-client, which this file alone knows here. Imported when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from trishula_broker.api.metrics import Row
from trishula_broker.hub.counts import Buckets

_process: Final = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=_process)


class _Once(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def encoded(found: Iterable[tuple[Row, Any]], node: str, accept: str) -> tuple[bytes, str]:
    """All of it, in the format that ``accept`` asks for, and what that is called.

    Args:
        found: metrics, each with its value: a number, numbers by labels, or buckets; None where it
            is not known.
        node: a label of all.
    """
    families = [*(_family(row, value, node) for row, value in found), *_process.collect()]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families))
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


def _family(row: Row, value: Any, node: str) -> Metric:
    name = f"trishula_{row.name}"
    labels = ("node", *row.labels)
    if row.kind == "histogram":
        histogram = HistogramMetricFamily(name, row.help, labels=labels)
        if value is not None:
            histogram.add_metric([node], *_cumulative(value))
        return histogram
    made = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    family = made(name, row.help, labels=labels)
    for values, number in _samples(value):
        family.add_metric([node, *values], number)
    return family


def _samples(value: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    """A metric's values by labels; none where it is not known."""
    if isinstance(value, Mapping):
        yield from ((labels, float(number)) for labels, number in value.items())
    elif value is not None:
        yield (), float(value)


def _cumulative(found: Buckets) -> tuple[list[tuple[str, float]], float]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*found.bounds, float("inf")), found.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), total))
    return buckets, found.sum
