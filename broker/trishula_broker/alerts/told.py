"""Which alerts are on, over restarts: a file beside the store. It blocks, for a moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from trishula_broker.alerts.watch import Alert

FILE: Final = "alerts.json"
_decode: Final = msgspec.json.Decoder(dict[str, Alert]).decode
_encode: Final = msgspec.json.Encoder().encode


class Told:
    """The file.

    Args:
        data: the hub's data directory.
    """

    def __init__(self, data: Path) -> None:
        self._path = data / FILE
        self._written = b""

    def read(self) -> dict[str, Alert]:
        """What was on; nothing where the file is not there, or damaged: it is told again then."""
        try:
            return _decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return {}

    def write(self, alerts: dict[str, Alert]) -> None:
        """Remember these, if they are others than before.

        Raises:
            OSError: they are not.
        """
        data = _encode({name: msgspec.structs.replace(a, what="") for name, a in alerts.items()})
        if data == self._written:
            return
        temporary = self._path.with_name(f".{FILE}")
        # As everything in the data directory is: its owner's alone.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self._written = data
