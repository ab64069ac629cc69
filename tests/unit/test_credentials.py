"""Secrets in files: what is read, what is refused, and that no error repeats one."""

from __future__ import annotations

from pathlib import Path

import pytest

from trishula_broker import credentials
from trishula_broker.audit.sealing import UnusableKey, read_key
from trishula_broker.credentials import BadSecret, read_secret

KEY = "00" * 32


def file_of(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b" of two words ", " of two words "),
        ("pässwörd\n".encode(), "pässwörd"),
    ],
)
def test_a_secret_is_a_line_without_its_end(tmp_path: Path, content: bytes, secret: str) -> None:
    assert read_secret(file_of(tmp_path, content), "redis.password_file") == secret


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"s3cret\nand more\n", b"\xff\xfe", b"s3\0cret", b"s3" * credentials.LONGEST],
)
def test_what_is_no_line_of_text_is_refused_and_not_repeated(
    tmp_path: Path, content: bytes
) -> None:
    path = file_of(tmp_path, content)
    with pytest.raises(BadSecret) as error:
        read_secret(path, "redis.password_file")
    assert str(error.value) == (
        f"redis.password_file: {path} must hold one line of text, and nothing else"
    )


def test_a_file_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match=r"^redis\.password_file: cannot read .*: No such file"):
        read_secret(tmp_path / "none", "redis.password_file")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o444, 0o660])
def test_a_file_that_others_can_read_is_refused_with_what_to_type(
    tmp_path: Path, mode: int
) -> None:
    path = file_of(tmp_path, b"s3cret", mode)
    with pytest.raises(BadSecret) as error:
        read_secret(path, "redis.password_file")
    assert str(error.value) == (
        f"redis.password_file: others can read {path}; type: chmod 600 {path}"
    )


@pytest.mark.parametrize("mode", [0o440, 0o444])
def test_the_modes_of_a_services_credentials_and_a_containers_secrets_are_not_its_own(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, container = tmp_path / "service", tmp_path / "container"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(service))
    monkeypatch.setattr(credentials, "CONTAINER", container)
    for folder in (service, container):
        path = file_of(folder, KEY.encode(), mode)
        assert read_secret(path, "redis.password_file") == KEY
        assert read_key(path, "audit.key_file") == bytes(32)
    elsewhere = file_of(tmp_path / "elsewhere", KEY.encode(), mode)
    with pytest.raises(BadSecret):
        read_secret(elsewhere, "redis.password_file")
    with pytest.raises(UnusableKey):
        read_key(elsewhere, "audit.key_file")
