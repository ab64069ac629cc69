"""What agents saw happen, and whether it keeps the promises of docs/protocol.md §5.

Each *instance* of an agent logs events with a counter of its own; simulations keep them in a
list, processes in a file of JSON lines that survives ``kill -9``. :func:`check` judges a whole
history after the run went on until quiet. It knows nothing of the hub, and no common clock:
only what an application sent, was told and was handed.

An instance is one application with one dedup state. Two processes that register under one
name are two instances of one agent; a process that comes back with its state directory is the
same instance, and one that lost it says so with :class:`Started`.
"""

from tests.support.history.checker import DECIDED, assert_kept, check
from tests.support.history.events import (
    Abandoned,
    Accepted,
    AnyEvent,
    Ended,
    Event,
    Handed,
    Noticed,
    Recalled,
    Recalling,
    Refused,
    Registered,
    Sent,
    Settled,
    Stale,
    Started,
    TakenOver,
    digest,
)
from tests.support.history.log import Log, read_log, read_logs, write_log
from tests.support.history.violations import (
    Altered,
    AnsweredTwice,
    Contradicted,
    Duplicated,
    FinishedTwice,
    Forged,
    Lost,
    MessageKey,
    Misdirected,
    Renumbered,
    Swapped,
    Unclear,
    Unfounded,
    Violation,
)

__all__ = [
    "DECIDED",
    "Abandoned",
    "Accepted",
    "Altered",
    "AnsweredTwice",
    "AnyEvent",
    "Contradicted",
    "Duplicated",
    "Ended",
    "Event",
    "FinishedTwice",
    "Forged",
    "Handed",
    "Log",
    "Lost",
    "MessageKey",
    "Misdirected",
    "Noticed",
    "Recalled",
    "Recalling",
    "Refused",
    "Registered",
    "Renumbered",
    "Sent",
    "Settled",
    "Stale",
    "Started",
    "Swapped",
    "TakenOver",
    "Unclear",
    "Unfounded",
    "Violation",
    "assert_kept",
    "check",
    "digest",
    "read_log",
    "read_logs",
    "write_log",
]
