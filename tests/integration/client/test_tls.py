"""``wss://``: the hub's certificate is checked."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from websockets.asyncio.server import serve

from tests.integration.client.scripted_hub import ScriptedHub
from trishula import Agent, NotConnected

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


async def test_a_hub_is_trusted_by_its_certificate_or_not_at_all(
    certificate: tuple[Path, Path],
) -> None:
    found = ScriptedHub()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with serve(found._serve, "localhost", 0, ssl=context, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = f"wss://localhost:{port}/ws"
        async with Agent("dc", url, ca_file=certificate[0]) as dc:
            await dc.send("agni", "x" * 500_000)
        assert len(found.log) == 1
        with pytest.raises(NotConnected, match=r"(?i)certificate verify failed"):
            await Agent("dc", url, connect_timeout=0.3).__aenter__()
