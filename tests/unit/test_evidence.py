"""What is left of a campaign that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import evidence
from tests.support.history import Accepted, read_log


def test_a_campaign_that_fails_leaves_its_files_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "KEPT", tmp_path / "kept")
    (tmp_path / "run" / "hub").mkdir(parents=True)
    (tmp_path / "run" / "hub" / "store.journal").write_bytes(b"a record")
    seen = [Accepted("agni", "agni", 1, "m1")]
    with (
        pytest.raises(AssertionError, match="lost") as caught,
        evidence.kept_if_it_fails(tmp_path / "run", "kill-7", lambda: seen),
    ):
        raise AssertionError("lost: m1")
    [place] = (tmp_path / "kept").iterdir()
    assert caught.value.__notes__ == [f"all files of kill-7 are in {place}"]
    assert place.name.startswith("kill-7-")
    assert (place / "hub" / "store.journal").read_bytes() == b"a record"
    assert read_log(place / "history.jsonl") == seen


def test_one_that_does_not_fail_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "KEPT", tmp_path / "kept")
    with evidence.kept_if_it_fails(tmp_path, "kill-7"):
        pass
    assert not (tmp_path / "kept").exists()


def test_files_that_cannot_be_kept_do_not_hide_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "KEPT", tmp_path / "kept")
    with (
        pytest.raises(AssertionError, match="lost") as caught,
        evidence.kept_if_it_fails(tmp_path / "nowhere", "kill-7"),
    ):
        raise AssertionError("lost: m1")
    assert "could not be kept" in caught.value.__notes__[0]
