"""Whether the audit's archive is as it was written, and fits the heads in the store."""

from __future__ import annotations

import asyncio
from pathlib import Path

from trishula_broker.audit import verify as verifying
from trishula_broker.audit.heads import KeyProblem, NodeKey
from trishula_broker.audit.node_archive import folder, key_path, sealer
from trishula_broker.audit.sealing import UnusableKey
from trishula_broker.audit.verify import Store
from trishula_broker.config import Config
from trishula_broker.credentials import BadSecret
from trishula_broker.doctor.finding import Finding
from trishula_broker.store.base import StoreError
from trishula_broker.store.sqlite.archivers import archivers_in
from trishula_broker.stores import make_store
from trishula_broker.workers.worker import config_of


def examine(config: Config) -> list[Finding]:
    """A finding for each archive: of several workers each has one."""
    if not config.audit.enabled:
        what = "no archive is looked at: audit.enabled is false, or --no-audit was said here"
        todo = "keep one: without it nobody can find out later what happened"
        return [Finding("audit", "warning", what, todo)]
    if config.workers == 1:
        return [_one(config)]
    return [_one(config_of(config, number, 0)) for number in range(1, config.workers + 1)]


def _one(config: Config) -> Finding:
    root = folder(config)
    if not root.is_dir():
        return Finding("audit", "ok", f"{root}: nothing was archived yet")
    try:
        store = _store(config)
        reports = verifying.verify(root, store, sealer(config.audit))
    except UnusableKey as error:
        return Finding("audit", "bad", str(error), "give the key that it was encrypted with")
    except OSError as error:
        what = f"{error.filename or root}: {error.strerror or error}"
        return Finding("audit", "bad", what, "run this as the hub's user")
    found = sum(report.found for report in reports)
    if found:
        first = next(str(finding) for report in reports for finding in report.findings)
        what = f"{root} is not as it was written: {first}"
        return Finding("audit", "bad", what, f"broker audit verify {root} says all; docs/audit.md")
    records = sum(report.records for report in reports)
    if store.archives is None:
        what = f"{root}: {records} records fit one another; the heads are out of reach: {store.why}"
        return Finding("audit", "warning", what, "look again when the store answers")
    return Finding("audit", "ok", f"{root}: {records} records fit one another and the signed heads")


def _store(config: Config) -> Store:
    data = Path(config.data).expanduser()
    try:
        kid = NodeKey.load(key_path(config)).kid
    except (FileNotFoundError, KeyProblem):
        kid = None  # told where keys are
    try:
        if config.redis.url:
            from trishula_broker.store.redis import RedisStore

            shared = make_store(config)
            assert isinstance(shared, RedisStore)
            return Store(asyncio.run(shared.archivers()), kid=kid)
        return Store(archivers_in(data), kid=kid)
    except (StoreError, BadSecret) as error:
        return Store(None, str(error), kid=kid)
