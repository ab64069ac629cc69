"""Whether the hub in this container answers: exit code 0, or 1 with a line that says why not.

It asks for ``/health/live``: a hub whose Redis is away is alive, and starting it anew helps no one.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

TIMEOUT_S = 2.5
"""For each of the two ways; the image's HEALTHCHECK allows for both."""


def main() -> int:
    """Ask in plain text, and if that is not answered well over TLS."""
    port = int(os.environ.get("TRISHULA_PORT", "8765"))
    why = ""
    for link in (
        http.client.HTTPConnection("localhost", port, timeout=TIMEOUT_S),
        # Whose certificate it shows says nothing here: it is this container's own.
        http.client.HTTPSConnection(
            "localhost", port, timeout=TIMEOUT_S, context=ssl._create_unverified_context()
        ),
    ):
        try:
            link.request("GET", "/health/live")
            status = link.getresponse().status
            if status == http.client.OK:
                return 0
            why = why or f"HTTP {status}"
        except (OSError, http.client.HTTPException) as error:
            why = why or str(error) or type(error).__name__
        finally:
            link.close()
    print(f"no hub answers at port {port}: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
