"""What a log line holds, and what it must not."""

import io
import json

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
