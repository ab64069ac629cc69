"""A real nginx of the tests' own, with ``deploy/nginx.conf`` and a certificate made for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.support.ports import free_port

CONFIG: Final = Path(__file__).parents[2] / "deploy" / "nginx.conf"
START_SECONDS: Final = 240.0
_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"

MAIN: Final = """
daemon off;
{user}
worker_processes 1;
pid {directory}/pid;
error_log {directory}/main.log;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/trishula.conf;
}}
"""


def nginx_command() -> str:
    """Where the command is; Debian keeps daemons where not every user looks."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:{_PATH}")
    assert found is not None, "nginx is missing: `make test` installs it"
    return found


class Nginx:
    """nginx before two hubs, its files in ``directory``.

    Args:
        primary: the port of the one on 127.0.0.1.
        failover: the port of the other.
    """

    def __init__(self, directory: Path, primary: int, failover: int) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.port = free_port()
        self._hubs = primary, failover
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Without a path."""
        return f"wss://localhost:{self.port}"

    @property
    def ca_file(self) -> Path:
        """What to trust."""
        return self.directory / "hub.crt"

    @property
    def logs(self) -> str:
        """All it has written."""
        return "".join(path.read_text() for path in sorted(self.directory.glob("*.log")))

    def start(self) -> None:
        """Start it, and return when it listens."""
        self._make_certificate()
        (self.directory / "trishula.conf").write_text(self._render(CONFIG.read_text()))
        main = self.directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # a worker must reach its files
        main.write_text(MAIN.format(directory=self.directory, user=user))
        begin = [nginx_command(), "-p", str(self.directory), "-e", str(self.directory / "main.log")]
        begin += ["-c", str(main)]
        tried = subprocess.run([*begin, "-t"], capture_output=True, text=True, check=False)
        assert tried.returncode == 0, tried.stderr
        self._process = subprocess.Popen(begin, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            assert self._process.poll() is None, self.logs
            assert time.monotonic() < deadline, self.logs
            time.sleep(0.01)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), START_SECONDS).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _render(self, text: str) -> str:
        """Change what the file says is to be changed; each of it must be there."""
        changes = {
            "hub-1.internal:8765": f"127.0.0.1:{self._hubs[0]}",
            "hub-2.internal:8765": f"127.0.0.1:{self._hubs[1]}",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "server_name hub.example.org": "server_name localhost",
            "/etc/nginx/tls": str(self.directory),
            "/var/log/nginx": str(self.directory),
        }
        lines: list[str] = []
        unseen = set(changes)
        for line in text.splitlines():
            setting = "" if line.lstrip().startswith("#") else line
            found = [old for old in changes if old in setting]
            assert bool(found) == ("# CHANGE" in setting), f"not as marked: {line}"
            unseen.difference_update(found)
            for old in found:
                line = line.replace(old, changes[old])
            lines.append(line)
        assert not unseen, f"not in the file: {unseen}"
        return "\n".join(lines)

    def _make_certificate(self) -> None:
        """One for localhost, signed by itself."""
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            "-subj /CN=localhost -addext subjectAltName=DNS:localhost "
            "-keyout hub.key -out hub.crt"
        )
        subprocess.run(command.split(), cwd=self.directory, check=True, capture_output=True)
