"""What a log line holds, and what it must not."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from trishula_broker.config import LogConfig
from trishula_broker.logs import make_log


def fail(secret: str) -> None:
    raise ValueError("a bug")


def test_lines_are_json_when_nobody_watches() -> None:
    out = io.StringIO()
    make_log(LogConfig(), out).info("registered", agent="dc")
    line = json.loads(out.getvalue())
    assert (line["event"], line["agent"], line["level"]) == ("registered", "dc", "info")
    assert line["timestamp"].endswith("Z")


def test_lines_below_the_level_are_not_written() -> None:
    out = io.StringIO()
    make_log(LogConfig(level="warning"), out).info("registered")
    assert out.getvalue() == ""


def test_tracebacks_come_without_local_variables() -> None:
    secret = "-".join(["s3cret", "token"])
    for form in ("json", "text"):
        out = io.StringIO()
        log = make_log(LogConfig(format=form), out)
        try:
            fail(secret)
        except ValueError as error:
            log.error("bug", exc_info=error)
        assert "a bug" in out.getvalue()
        assert "test_logs.py" in out.getvalue()
        assert secret not in out.getvalue()


@pytest.mark.parametrize("form", [LogConfig(format="json"), LogConfig(format="text")])
@pytest.mark.parametrize(
    "sent", ["\x1b[2J", "a\x9b31m", "a\nfake line", "\u202egnp", "\u2028", "\ud800", "\x00"]
)
def test_what_others_sent_does_not_write_to_a_terminal(form: LogConfig, sent: str) -> None:
    out = io.StringIO()
    try:
        raise ValueError(sent)
    except ValueError as error:
        make_log(form, out).error("refused", agent=sent, details={"of": [sent]}, why=error)
    [line] = out.getvalue().splitlines()
    assert all(character.isprintable() for character in line), line


def test_a_traceback_does_not_write_to_a_terminal() -> None:
    out = io.StringIO()
    try:
        raise ValueError("\x1b[2J\r\x9b")
    except ValueError as error:
        make_log(LogConfig(format="text"), out).error("bug", exc_info=error)
    assert "Traceback" in out.getvalue()
    assert "\\u001b[2J" in out.getvalue()
    assert out.getvalue().replace("\n", "").isprintable()


@pytest.fixture
def libraries() -> Iterator[None]:
    """The root logger as it was before."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.usefixtures("libraries")
def test_what_libraries_say_is_a_line_like_any_other() -> None:
    out = io.StringIO()
    make_log(LogConfig(), io.StringIO())
    make_log(LogConfig(), out)  # another takes its place
    library = logging.getLogger("a.library")
    library.info("not this")
    library.warning("%s waits\nfor %d", "it", 5)
    try:
        fail("s3cret")
    except ValueError:
        library.exception("failed")
    waits, failed = map(json.loads, out.getvalue().splitlines())
    assert (waits["event"], waits["level"]) == ("it waits\nfor 5", "warning")
    assert waits["logger"] == failed["logger"] == "a.library"
    assert failed["exception"][0]["exc_value"] == "a bug"
    assert "s3cret" not in out.getvalue()


@pytest.mark.usefixtures("libraries")
def test_a_record_that_cannot_be_formatted_stops_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_log(LogConfig(), io.StringIO())
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logging.getLogger("a.library").warning("%d", "no number")
    assert capsys.readouterr().out == ""
