"""The host: room and speed of the disk, kind of file system, descriptors."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trishula_broker.doctor.finding import Finding, Level

DISK_BAD_BYTES: Final = 256 << 20
"""Less free than this: the next segment of the archive and a fold may not fit."""
DISK_LOW_BYTES: Final = 2 << 30
DISK_LOW_SHARE: Final = 0.05
INODES_LOW: Final = 10_000
SYNCS: Final = 20
SYNC_BYTES: Final = 4096
SYNC_SLOW_MS: Final = 10.0
"""A lone message is acknowledged after one such write: 100 a second are left."""
SYNC_BAD_MS: Final = 100.0
DESCRIPTORS_LOW: Final = 4096
"""Each agent takes one, and a hub some dozens."""
DESCRIPTORS_BAD: Final = 256
REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs"})
"""File systems whose locks and syncs are another host's to keep."""
VOLATILE: Final = frozenset({"tmpfs", "ramfs"})


def disk(what: str, folder: Path) -> list[Finding]:
    """Room where ``folder`` is, or will be; ``what`` it is."""
    there = nearest(folder)
    try:
        usage = shutil.disk_usage(there)
        inodes = os.statvfs(there)
    except OSError as error:
        todo = "name a folder that can be read"
        return [Finding("disk", "bad", f"{what}: {there}: {error.strerror}", todo)]
    level = disk_level(usage.free, usage.total)
    found = f"{what}: {_size(usage.free)} of {_size(usage.total)} are free at {there}"
    todo = ""
    if level != "ok":
        todo = "make room, or lower retention.max_bytes and audit.max_bytes"
    elif inodes.f_files and inodes.f_favail < INODES_LOW:
        level, todo = "warning", "remove small files: the file system is nearly out of inodes"
        found = f"{what}: {inodes.f_favail} inodes are free at {there}"
    return [Finding("disk", level, found, todo)]


def disk_level(free: int, total: int) -> Level:
    """How bad so much room is, in bytes."""
    if free < DISK_BAD_BYTES:
        return "bad"
    return "warning" if free < max(DISK_LOW_BYTES, total * DISK_LOW_SHARE) else "ok"


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> list[Finding]:
    """Whether the data is on a disk of this host's; nothing where the system does not tell."""
    try:
        lines = [line.split(" ") for line in mounts.read_text().splitlines()]
    except OSError:
        return []
    there = nearest(folder).resolve()
    kinds = [
        (len(point.parts), kind)
        for _, where, kind, *_ in lines
        if there.is_relative_to(point := Path(where.replace("\\040", " ")))
    ]
    kind = max(kinds, default=(0, ""))[1]
    if kind in REMOTE:
        found = f"{there} is on a network file system ({kind}), whose locks and syncs may not hold"
        return [Finding("disk", "warning", found, "keep data on a disk of this host")]
    if kind in VOLATILE:
        found = f"{there} is in memory ({kind}): what it holds is gone when the host restarts"
        return [Finding("disk", "warning", found, "keep data on a disk")]
    return []


def sync_time(folder: Path) -> list[Finding]:
    """How long a synced write takes there."""
    there = nearest(folder)
    try:
        times = _sync_times(there)
    except OSError as error:
        found = f"{there}: {error.strerror or error}"
        todo = "have the hub's user own the data directory, and the disk writable"
        return [Finding("fsync", "bad", found, todo)]
    middle = statistics.median(times)
    found = f"a synced write takes {middle:.2f} ms, {max(times):.2f} at worst, of {len(times)}"
    level = sync_level(middle)
    todo = ""
    if level != "ok":
        todo = "use a disk of this host, an SSD; each lone message waits for one such write"
    return [Finding("fsync", level, found, todo)]


def sync_level(ms: float) -> Level:
    """How bad a synced write of so many milliseconds is."""
    if ms >= SYNC_BAD_MS:
        return "bad"
    return "warning" if ms >= SYNC_SLOW_MS else "ok"


def _sync_times(folder: Path) -> Sequence[float]:
    """Milliseconds of writes in place, as the journal does them."""
    times: list[float] = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-", buffering=0) as file:
        os.pwrite(file.fileno(), b"\0" * SYNC_BYTES, 0)
        os.fsync(file.fileno())  # its size is on the disk before anything is timed
        for _ in range(SYNCS):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), b"\0" * SYNC_BYTES, 0)
            os.fsync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return times


def descriptors(pid: int | None) -> list[Finding]:
    """How many files and sockets a hub may have open: the running one, if its process is known and
    the system tells, or else one that is started here."""
    limit = None if pid is None else _limit_of(pid)
    whose = f"the hub (pid {pid})" if limit is not None else "a hub that is started here"
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if limit == resource.RLIM_INFINITY:
            limit = -1
    text = "any number of" if limit < 0 else str(limit)
    level = descriptors_level(limit)
    todo = ""
    if level != "ok":
        todo = "raise the hard limit: LimitNOFILE=65536 in its unit, or ulimit -Hn"
    return [Finding("descriptors", level, f"{whose} may have {text} files open", todo)]


def descriptors_level(limit: int) -> Level:
    """How bad a limit is; below 0 for none."""
    if 0 <= limit < DESCRIPTORS_BAD:
        return "bad"
    return "warning" if 0 <= limit < DESCRIPTORS_LOW else "ok"


def _limit_of(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return -1 if soft == "unlimited" else int(soft)
    return None


def nearest(folder: Path) -> Path:
    """The folder, or the one above it that is there."""
    folder = folder.expanduser().absolute()
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
