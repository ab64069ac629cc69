"""Who may reach the hub, put together from the configuration before it listens.

Keys or none, TLS or none, which addresses, and whether files with secrets are safe. It knows no
connections; :mod:`trishula_broker.net` does.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from trishula_broker.auth.errors import AuthError, Unsafe
from trishula_broker.auth.identity import Identity
from trishula_broker.auth.revocations import Revocations
from trishula_broker.config import Config
from trishula_broker.hub.now import Now
from trishula_broker.net.listener import DEFAULT_NAMESPACE
from trishula_broker.net.peers import is_loopback
from trishula_broker.net.ports import Log
from trishula_broker.net.tls import Tls, TlsError

if TYPE_CHECKING:  # a hub without keys does not load what checks tokens
    from trishula_broker.auth.authenticator import Authenticator
    from trishula_broker.auth.keys import KeyRing

OWN_TOKEN_MS: Final = 600_000
"""What a token of :class:`OwnTokens` lives."""
OTHERS: Final = 0o077
"""What the group and others may do: nothing, of what a hub keeps."""

SECRET: Final = frozenset({"audit"})
"""Folders in the data directory that hold what the data directory does."""


class NoAccess(Exception):
    """The hub must not start so: one line that says what to do."""


class Access(NamedTuple):
    """Who may come in."""

    authenticator: Authenticator | None
    """None without keys: everybody on this host, and nobody else."""
    tls: Tls | None
    """None: plain TCP."""


def open_access(config: Config, clock: Callable[[], Now], log: Log) -> Access:
    """What the configuration says of it; the files it names are read.

    Raises:
        NoAccess: a file is missing, broken or open to others; names it and says what to type.
    """
    check_private(Path(config.data).expanduser())
    archive = Path(config.audit.path).expanduser()
    if config.audit.enabled and config.audit.path and archive.is_dir():
        check_private(archive)
    try:
        return Access(_authenticator(config, clock), _tls(config, log))
    except (AuthError, TlsError) as error:
        raise NoAccess(str(error)) from None


def _authenticator(config: Config, clock: Callable[[], Now]) -> Authenticator | None:
    path, auth = config.key_file, config.auth
    if not auth.keys and not path.exists():
        if auth.trusted:
            raise NoAccess("auth.trusted: needs keys of this project too: `broker keys init`")
        return None
    from trishula_broker.auth.authenticator import Authenticator
    from trishula_broker.auth.key_file import load, load_trusted

    trusted: KeyRing | None = None
    if auth.trusted:
        trusted = load_trusted(Path(auth.trusted).expanduser())
    return Authenticator(
        load(path),
        Revocations(),
        lambda: clock().wall,
        issuer=auth.issuer,
        audience=auth.audience,
        leeway_ms=int(auth.leeway_s * 1000),
        trusted_issuer=auth.trusted_issuer,
        trusted=trusted,
    )


def _tls(config: Config, log: Log) -> Tls | None:
    cert, key = config.tls.cert, config.tls.key
    if not cert:
        return None
    return Tls(Path(cert).expanduser(), Path(key).expanduser(), log)


def check_private(folder: Path) -> None:
    """See that nobody but its owner can look into a folder of the hub's, or at the files in it.

    One that is not there yet is made for its owner alone. Links are not followed.

    Raises:
        NoAccess: others can; says what to type.
    """
    try:
        found = folder.stat()
        if not stat.S_ISDIR(found.st_mode):
            return  # whoever needs it says so
        _check(folder, found, 0o700)
        with os.scandir(folder) as entries:
            for entry in entries:
                inside = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(inside.st_mode):
                    _check(Path(entry.path), inside, 0o600)
                elif stat.S_ISDIR(inside.st_mode) and entry.name in SECRET:
                    _check(Path(entry.path), inside, 0o700)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NoAccess(f"{folder}: {error.strerror}") from None


def _check(path: Path, found: os.stat_result, mode: int) -> None:
    if stat.S_IMODE(found.st_mode) & OTHERS:
        why = f"others can look at it (mode {stat.S_IMODE(found.st_mode):04o})"
        todo = f"type: chmod {mode:o} {shlex.quote(str(path))}"
        raise NoAccess(str(Unsafe(str(path), why, todo)))


async def check_reach(config: Config, access: Access) -> None:
    """See that a hub without keys is reached from this host alone.

    Raises:
        NoAccess: it would be reached from elsewhere; says how keys are made.
    """
    if access.authenticator is not None or is_loopback(config.host):
        return
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        return  # listening fails by it, and says so
    if all(is_loopback(str(address[0]).partition("%")[0]) for *_, address in found):
        return
    where = str(config.key_file)
    raise NoAccess(
        f"host: {config.host} is reached from other machines, and without keys everybody there "
        f"could be any agent; type: broker keys init --keys {shlex.quote(where)}"
    )


class OwnTokens:
    """Tokens for the agents that this hub bridges itself, signed with its own key.

    Args:
        config: where the keys are.
        clock: the time.
    """

    def __init__(self, config: Config, clock: Callable[[], Now]) -> None:
        self._path = config.key_file
        self._auth = config.auth
        self._clock = clock
        self._last: dict[str, str] = {}

    def __call__(self, agent: str) -> str:
        """A token that is short-lived, for one more is made when it is needed.

        Raises:
            NoAccess: there is no key that signs, and there never was.
        """
        try:
            self._last[agent] = self._make(agent)
        except (AuthError, NoAccess) as error:
            if agent not in self._last:
                raise NoAccess(str(error)) from None
        return self._last[agent]

    def _make(self, agent: str) -> str:
        from trishula_broker.auth.key_file import load
        from trishula_broker.auth.tokens import create

        key = load(self._path).signing
        if key is None:
            raise NoAccess(
                f"{self._path}: no key in it signs, so the folder's agents get no tokens of this "
                "hub; run `broker bridge` with tokens of theirs"
            )
        now = self._clock().wall
        identity = Identity(
            subject=agent,
            namespace=DEFAULT_NAMESPACE,
            role="agent",
            token_id=f"bridge-{secrets.token_hex(8)}",
            issued_at=now,
            expires_at=now + OWN_TOKEN_MS,
        )
        return create(identity, key, self._auth.issuer, self._auth.audience)


def trust_own(config: Config) -> ssl.SSLContext | None:
    """What trusts this hub's own certificate, whatever its name; None without TLS."""
    if not config.tls.cert:
        return None
    context = ssl.create_default_context(cafile=str(Path(config.tls.cert).expanduser()))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
