"""What a hub's ``/metrics`` say of the period, for triggers: of the time since it was started."""

from __future__ import annotations

from typing import Final

from trishula_broker.report.latency import Histogram
from trishula_broker.report.triggers import Evidence

_LOST: Final = ("expired", "dead")


class NotMetrics(ValueError):
    """The text is no hub's."""


def evidence_of_metrics(text: str, data: str) -> Evidence:
    """What they say; nothing of who could not connect.

    Raises:
        NotMetrics: they are no hub's.
    """
    from prometheus_client.parser import text_string_to_metric_families

    values: dict[str, float] = {}
    histograms = {"accept_latency": Histogram(), "delivery_latency": Histogram()}
    passed: dict[tuple[str, str], float] = {}
    lost = accepted = copies = 0.0
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("trishula_")
                labels = sample.labels
                if name == "settled_total" and labels.get("outcome") in _LOST:
                    lost += sample.value
                elif name == "messages_total" and labels.get("outcome") == "accepted":
                    accepted += sample.value
                elif name == "deliveries_total":
                    copies += sample.value
                elif name in ("uptime_seconds", "draining"):
                    values[name] = sample.value
                elif name.endswith("_latency_seconds_bucket"):
                    which = name.removesuffix("_seconds_bucket")
                    key = which, labels.get("node", "")
                    more = sample.value - passed.get(key, 0.0)
                    passed[key] = sample.value
                    histograms[which].add({labels["le"].lstrip("+").lower(): more})
    except (KeyError, ValueError) as error:
        raise NotMetrics(f"{data}: it is not in Prometheus' text format ({error})") from error
    if "uptime_seconds" not in values:
        raise NotMetrics(f"{data}: there is no trishula_uptime_seconds; is it a hub's /metrics?")
    up = values["uptime_seconds"]
    loss = min(1.0, lost / copies) if copies else (1.0 if lost else None)
    return Evidence(
        data,
        up,
        up,
        histograms["accept_latency"].shown(),
        histograms["delivery_latency"].shown(),
        loss,
        None,
        accepted > 0,
    )
