"""The key file: made once, rotated, pruned, and never open to others."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.unit.auth.making import NOW, identity, jwk
from trishula_broker.auth import key_file
from trishula_broker.auth.errors import KeysError, Unsafe
from trishula_broker.auth.ledger import Issued, Revoked

DAY = 24 * 3600 * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a key file in a folder that is not there yet."""
    return tmp_path / "data" / "keys.json"


def kids(path: Path) -> list[str]:
    return [key.kid for key in key_file.load(path)]


def issue(path: Path, kid: str, token_id: str = "t1", life: int | None = DAY) -> None:
    who = identity(token_id=token_id, expires_at=None if life is None else NOW + life)
    key_file.ledger_of(path).add(Issued.of(who, kid))


@pytest.mark.parametrize("alg", ["HS256", "EdDSA"])
def test_a_new_file_has_one_key_that_signs_and_is_nobody_elses(path: Path, alg: str) -> None:
    made = key_file.init(path, alg, NOW)
    keys = key_file.load(path)
    assert keys.signing is not None
    assert (keys.signing.kid, keys.signing.alg, keys.signing.made) == (made.kid, alg, NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_there_is_not_overwritten(path: Path) -> None:
    key_file.init(path, "HS256", NOW)
    before = path.read_bytes()
    with pytest.raises(KeysError, match=r"is there already.*broker keys rotate"):
        key_file.init(path, "HS256", NOW)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_not_there_is_told_with_the_command(path: Path) -> None:
    path.parent.mkdir(0o700)
    with pytest.raises(KeysError, match=r"no such file; .* `broker keys init --keys .* makes one"):
        key_file.load(path)


def test_after_a_rotation_the_new_key_signs_and_both_check(path: Path) -> None:
    first = key_file.init(path, "HS256", NOW)
    new, dropped = key_file.rotate(path, None, NOW + 1)
    assert (new.alg, dropped) == ("HS256", ())
    assert kids(path) == [new.kid, first.kid]
    signing = key_file.load(path).signing
    assert signing is not None
    assert signing.kid == new.kid


def test_the_next_rotation_drops_the_oldest_when_no_token_needs_it(path: Path) -> None:
    first = key_file.init(path, "HS256", NOW)
    issue(path, first.kid, life=-DAY)
    second, _ = key_file.rotate(path, "EdDSA", NOW)
    third, dropped = key_file.rotate(path, None, NOW)
    assert [key.kid for key in dropped] == [first.kid]
    assert kids(path) == [third.kid, second.kid]
    assert third.alg == "EdDSA"


@pytest.mark.parametrize(
    ("life", "why"),
    [
        (DAY, "it checks 1 token, the last of which expires at 2027-01-16 08:00 UTC, so it"),
        (None, "it checks 1 token, and not all expire, so it cannot"),
    ],
)
def test_a_key_that_a_token_needs_is_not_dropped_for_a_third(
    path: Path, life: int | None, why: str
) -> None:
    first = key_file.init(path, "HS256", NOW)
    issue(path, first.kid, life=life)
    key_file.rotate(path, None, NOW)
    before = path.read_bytes()
    with pytest.raises(KeysError) as error:
        key_file.rotate(path, None, NOW)
    assert str(error.value).startswith(f"{path}: key {first.kid}: {why}")
    assert path.read_bytes() == before
    pruned = key_file.prune(path, NOW)
    assert (pruned.dropped, [key.kid for key, _ in pruned.kept]) == ((), [first.kid])
    key_file.ledger_of(path).add(Revoked(at=NOW, ns="default", jti="t1"))
    assert [key.kid for key in key_file.prune(path, NOW).dropped] == [first.kid]


def test_pruning_leaves_what_signs_and_by_force_nothing_else(path: Path) -> None:
    first = key_file.init(path, "HS256", NOW)
    assert key_file.prune(path, NOW, force=True).dropped == ()
    issue(path, first.kid)
    second, _ = key_file.rotate(path, None, NOW)
    assert [key.kid for key in key_file.prune(path, NOW, force=True).dropped] == [first.kid]
    assert kids(path) == [second.kid]


def test_public_halves_that_were_put_in_stay(path: Path) -> None:
    first = key_file.init(path, "HS256", NOW)
    public = jwk("ES256", "theirs", note="kept as it is")
    path.write_text(json.dumps({"keys": [first.document(), public]}))
    new, _ = key_file.rotate(path, None, NOW)
    assert kids(path) == [new.kid, first.kid, "theirs"]
    key_file.prune(path, NOW, force=True)
    assert json.loads(path.read_text())["keys"][1] == public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o610])
def test_a_file_that_others_can_get_at_is_refused_with_the_command(path: Path, mode: int) -> None:
    key_file.init(path, "HS256", NOW)
    path.chmod(mode)
    for use in (
        lambda: key_file.load(path),
        lambda: key_file.rotate(path, None, NOW),
        lambda: key_file.prune(path, NOW),
    ):
        with pytest.raises(Unsafe) as error:
            use()
        assert str(error.value).endswith(f"(mode {mode:04o}); chmod 600 {path}")
    path.chmod(0o600)
    key_file.load(path)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write_is_refused_with_the_command(path: Path, mode: int) -> None:
    path.parent.mkdir()
    path.parent.chmod(mode)
    with pytest.raises(Unsafe, match="others may write this folder") as error:
        key_file.init(path, "HS256", NOW)
    assert error.value.todo == f"chmod go-w {path.parent}"
    path.parent.chmod(0o755)
    key_file.init(path, "HS256", NOW)
    path.parent.chmod(mode)
    with pytest.raises(Unsafe):
        key_file.load(path)


def test_the_command_to_type_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "my keys" / "keys.json"
    key_file.init(path, "HS256", NOW)
    path.chmod(0o644)
    with pytest.raises(Unsafe) as error:
        key_file.load(path)
    assert error.value.todo == f"chmod 600 '{path}'"


def test_a_link_or_anything_but_a_file_is_refused(path: Path) -> None:
    key_file.init(path, "HS256", NOW)
    link = path.with_name("link.json")
    link.symlink_to(path)
    with pytest.raises(Unsafe, match="symbolic link; name the file that it points to"):
        key_file.load(link)
    fifo = path.with_name("fifo.json")
    os.mkfifo(fifo, 0o600)
    with pytest.raises(Unsafe, match="no regular file"):
        key_file.load(fifo)
    with pytest.raises(KeysError):
        key_file.load(path / "below")


def test_another_issuers_file_may_be_read_by_all_and_written_by_nobody(path: Path) -> None:
    path.parent.mkdir(0o755)
    path.write_text(json.dumps({"keys": [jwk("RS256")]}))
    path.chmod(0o644)
    assert [key.kid for key in key_file.load_trusted(path)] == ["k1"]
    path.chmod(0o664)
    with pytest.raises(Unsafe, match="others may write it"):
        key_file.load_trusted(path)


def test_a_file_too_large_for_keys_is_refused(path: Path) -> None:
    key_file.init(path, "HS256", NOW)
    path.write_bytes(b" " * (key_file.FILE_BYTES + 1))
    with pytest.raises(KeysError, match="a key file has 1048576 at most"):
        key_file.load(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_in_anothers_folder_belongs_to_that_one(path: Path) -> None:
    path.parent.mkdir(0o700)
    os.chown(path.parent, 12345, 12345)
    first = key_file.init(path, "HS256", NOW)
    issue(path, first.kid)
    key_file.rotate(path, None, NOW)
    for each in path.parent.iterdir():
        assert (each.stat().st_uid, each.stat().st_gid) == (12345, 12345)
