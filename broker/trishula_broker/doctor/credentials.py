"""Keys, tokens, certificates, and who can look at the hub's files."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trishula_broker.access import Access, NoAccess, check_private, check_reach
from trishula_broker.audit.heads import KeyProblem, NodeKey
from trishula_broker.audit.node_archive import folder as archive_folder
from trishula_broker.audit.node_archive import key_path
from trishula_broker.audit.node_archive import sealer as archive_sealer
from trishula_broker.audit.sealing import UnusableKey
from trishula_broker.auth import key_file
from trishula_broker.auth.book import Book
from trishula_broker.auth.errors import AuthError
from trishula_broker.config import Config
from trishula_broker.doctor.finding import Finding, Level
from trishula_broker.logs import make_log
from trishula_broker.net.tls import Tls, TlsError

if TYPE_CHECKING:
    from trishula_broker.auth.keys import KeyRing

DAY_S: Final = 24 * 3600
CERTIFICATE_WARNS_S: Final = 21 * DAY_S
"""An issuer that renews does so a month before the end: then this is a week late."""
CERTIFICATE_BAD_S: Final = 3 * DAY_S
TOKEN_WARNS_MS: Final = 7 * DAY_S * 1000
NAMED: Final = 5
"""Agents that a finding names."""


def files(config: Config) -> list[Finding]:
    """The data directory and the archive: there, ours, closed to others."""
    found = []
    data = Path(config.data).expanduser()
    for what, folder in (("data", data), ("archive", archive_folder(config))):
        if what == "archive" and not config.audit.enabled:
            continue
        try:
            check_private(folder)
        except NoAccess as error:
            found.append(_bad("files", str(error)))
            continue
        if not folder.exists():
            found.append(Finding("files", "ok", f"{what}: {folder} is made at the first start"))
        elif not folder.is_dir():
            todo = "name a folder"
            found.append(Finding("files", "bad", f"{what}: {folder} is no folder", todo))
        elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            todo = f"run this as the hub's user, or have that own {folder}"
            found.append(Finding("files", "bad", f"{what}: {folder} cannot be written", todo))
        else:
            text = f"{what}: {folder} is for its owner alone, and can be written"
            found.append(Finding("files", "ok", text))
    return found


def keys(config: Config, now: int) -> list[Finding]:
    """The key file, another issuer's, the tokens made with it; ``now`` in milliseconds."""
    path = config.key_file
    if not config.auth.keys and not path.exists():
        return _no_keys(config)
    found = []
    try:
        ring: KeyRing = key_file.load(path)
    except AuthError as error:
        return [_bad("keys", str(error))]
    count = len(list(ring))
    signs = ring.signing
    text = f"{path}: {count} key{'s' * (count != 1)}, closed to others"
    if signs is None:
        found.append(
            Finding("keys", "ok", f"{text}; none signs here, so tokens are made elsewhere")
        )
    else:
        found.append(Finding("keys", "ok", f"{text}; {signs.kid} ({signs.alg}) signs"))
    if config.auth.trusted:
        try:
            key_file.load_trusted(Path(config.auth.trusted).expanduser())
            found.append(Finding("keys", "ok", f"{config.auth.trusted}: another issuer's keys"))
        except AuthError as error:
            found.append(_bad("keys", str(error)))
    return [*found, *_tokens(path, now)]


def _no_keys(config: Config) -> list[Finding]:
    todo = f"broker keys init --keys {config.key_file}"
    if config.auth.trusted:
        return [Finding("keys", "bad", "auth.trusted needs keys of this project's too", todo)]
    try:
        asyncio.run(check_reach(config, Access(None, None)))
    except NoAccess as error:
        return [_bad("keys", str(error))]
    text = "no keys: the hub is for this host alone, and whoever is on it can be any agent"
    return [Finding("keys", "warning", text, todo)]


def _tokens(path: Path, now: int) -> list[Finding]:
    try:
        tokens = Book(key_file.ledger_of(path).read().entries).valid(now)
    except (AuthError, OSError) as error:
        return [_bad("tokens", str(error))]
    last: dict[tuple[str, str], float] = {}
    for each in tokens:  # of several an agent has, the one that lasts longest counts
        ends = float("inf") if each.exp is None else each.exp
        last[each.ns, each.sub] = max(ends, last.get((each.ns, each.sub), 0))
    soon = sorted(agent for (_, agent), ends in last.items() if ends < now + TOKEN_WARNS_MS)
    text = "1 token is valid" if len(tokens) == 1 else f"{len(tokens)} tokens are valid"
    if not soon:
        return [Finding("tokens", "ok", text)]
    named = ", ".join(soon[:NAMED]) + (f" and {len(soon) - NAMED} more" if soon[NAMED:] else "")
    text += f"; within 7 days the last one expires of {named}"
    return [Finding("tokens", "warning", text, "broker token create for those that go on")]


def node_key(config: Config) -> list[Finding]:
    """The key that signs the archive's heads, and the one that encrypts it."""
    if not config.audit.enabled:
        return []
    found = []
    path = key_path(config)
    try:
        NodeKey.load(path)
        found.append(Finding("keys", "ok", f"{path} signs this node's heads"))
    except FileNotFoundError:
        pass  # made at the first start
    except KeyProblem as error:
        found.append(_bad("keys", str(error)))
    try:
        archive_sealer(config.audit)
    except UnusableKey as error:
        found.append(_bad("keys", str(error)))
    return found


def certificate(config: Config, now_s: float) -> list[Finding]:
    """The hub's own, if it speaks TLS."""
    if not config.tls.cert:
        return []
    cert, key = (Path(each).expanduser() for each in (config.tls.cert, config.tls.key))
    try:
        ends = Tls(cert, key, make_log(config.log)).ends
    except TlsError as error:
        return [_bad("certificate", str(error))]
    if ends is None:
        return [Finding("certificate", "warning", f"{cert}: its end cannot be read", "look at it")]
    return [expiry(str(cert), ends, now_s)]


def expiry(which: str, ends: float, now_s: float) -> Finding:
    """What is to be said of a certificate that ends then, in seconds."""
    left = ends - now_s
    day = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d")
    level: Level = "ok"
    if left < CERTIFICATE_WARNS_S:
        level = "bad" if left < CERTIFICATE_BAD_S else "warning"
    text = f"{which} {'has expired' if left < 0 else 'ends'} on {day}"
    todo = "" if level == "ok" else "renew it, then have who shows it read it again (SIGHUP)"
    return Finding("certificate", level, text, todo)


def _bad(check: str, text: str) -> Finding:
    """Of an error that says what to do behind its last semicolon."""
    found, semicolon, todo = text.rpartition("; ")
    if not semicolon:
        return Finding(check, "bad", text, "mend that, and start the hub again")
    return Finding(check, "bad", found, todo)
