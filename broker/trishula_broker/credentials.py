"""Secrets in files that others hand to the hub: an operator, a service manager, a container.

It knows nobody's keys; what is a good one, whoever asks for it decides.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Final

CONTAINER: Final = Path("/run/secrets")
"""Where containers get secrets. Their mode is the runtime's (0444 in Docker), and nobody else is
there."""
SERVICE: Final = "CREDENTIALS_DIRECTORY"
"""The variable that names where a service of systemd's gets its credentials. They are its own by an
access list, whose mask a mode shows as if the group could read them."""
LONGEST: Final = 4096
"""Bytes of a secret: more is another file."""


class BadSecret(Exception):
    """A file whose secret cannot be used: the text names the key, the file and what to do."""


def seen_by_others(path: Path, found: os.stat_result) -> bool:
    """Whether others can look into a file that is to hold a secret."""
    service = os.environ.get(SERVICE, "")
    if path.parent == CONTAINER or (service and path.parent == Path(service)):
        return False
    return bool(stat.S_IMODE(found.st_mode) & 0o077)


def read_secret(path: Path, origin: str) -> str:
    """The one line of a file that nobody else can read, without its end.

    Args:
        path: the file.
        origin: the key of the configuration that names it.

    Raises:
        BadSecret: it cannot be used; the secret is not told.
    """
    try:
        with path.open("rb") as file:
            if seen_by_others(path, os.fstat(file.fileno())):
                todo = f"type: chmod 600 {shlex.quote(str(path))}"
                raise BadSecret(f"{origin}: others can read {path}; {todo}")
            text = file.read(LONGEST + 1).decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise BadSecret(f"{origin}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) >= LONGEST or not text.isprintable():
        raise BadSecret(f"{origin}: {path} must hold one line of text, and nothing else")
    return text
