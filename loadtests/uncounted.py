"""A hub that counts nothing: ``python -m loadtests.uncounted PYTHON -m trishula_broker serve ...``.

What metrics cost is only seen beside it. It is no way to run a hub: `/metrics` says nothing there.
Put before a command line that starts a hub it takes its place.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from trishula_broker.cli import main
from trishula_broker.hub.counts import Counts
from trishula_broker.net.meter import Meter
from trishula_broker.store import base


def _arrived(self: Meter, envelopes: int) -> None:
    """A frame came."""


def _collected(self: Meter, any_: bool) -> None:
    """The driver looked for what to commit."""


def _committed(
    self: Meter, batches: Sequence[base.Batch], outcomes: Sequence[Sequence[base.Outcome]]
) -> None:
    """A commit is over."""


def _out(self: Counts, copies: int, waited: int, there: int) -> None:
    """A batch goes out."""


if __name__ == "__main__":
    for owner, name, nothing in (
        (Meter, "arrived", _arrived),
        (Meter, "collected", _collected),
        (Meter, "committed", _committed),
        (Counts, "out", _out),
    ):
        assert hasattr(owner, name)
        setattr(owner, name, nothing)
    main(sys.argv[4:], prog_name="broker")
