"""From archives to a report."""

from __future__ import annotations

from collections.abc import Sequence

from trishula_broker.audit.reading import Archive
from trishula_broker.audit.times import iso, parse
from trishula_broker.report.figures import Figures
from trishula_broker.report.shapes import Report
from trishula_broker.report.source import lines, told_since


def make_report(
    archives: Sequence[Archive], namespace: str | None, since: int, until: int
) -> Report:
    """The figures of a period, milliseconds since the epoch.

    Args:
        archives: of several nodes that share a store; the first has the messages, all of them have
            what their hubs saw.

    Raises:
        OSError: a file cannot be read.
    """
    told = told_since(archives)
    figures = Figures(since, until, None if told is None else parse(told), namespace)
    for line in lines(archives, namespace, iso(since), iso(until)):
        figures.add(line)
    return figures.report(sum(archive.unread for archive in archives))
