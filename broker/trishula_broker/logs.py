"""Logging: structlog to standard error, JSON for machines, readable on a terminal."""

from __future__ import annotations

import io
import logging
import sys
from typing import TextIO

from trishula_broker.config import LogConfig
from trishula_broker.visible import visible

# Where rich is installed structlog loads it for its own way to show tracebacks: memory that a
# hub has no use for.
_hidden = "rich" not in sys.modules
if _hidden:
    sys.modules["rich"] = None  # type: ignore[assignment]  # the documented way to have none
try:
    import structlog
finally:
    if _hidden:
        del sys.modules["rich"]


def make_log(
    config: LogConfig, stream: TextIO | None = None
) -> structlog.typing.FilteringBoundLogger:
    """A logger for the whole process.

    No payload and no token is ever given to it, and tracebacks come without local variables,
    which may be both.
    """
    out = sys.stderr if stream is None else stream
    as_json = config.format == "json" or (config.format == "auto" and not out.isatty())
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        processors += [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        processors.append(_shown)
        processors.append(
            structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=_traceback)
        )
    level = logging.getLevelNamesMapping()[config.level.upper()]
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    _take_libraries(logger, max(level, logging.WARNING))
    return logger


def _take_libraries(logger: structlog.typing.FilteringBoundLogger, level: int) -> None:
    """Libraries (uvicorn, asyncio), and the SDK in a bridge, speak through the standard library:
    warnings of theirs matter, and are lines like any other."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, _Library):
            root.removeHandler(handler)
    root.addHandler(_Library(logger, level))
    root.setLevel(min(root.level or level, level))
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class _Library(logging.Handler):
    """Passes the standard library's records on."""

    def __init__(self, logger: structlog.typing.FilteringBoundLogger, level: int) -> None:
        super().__init__(level)
        self._log = logger

    def emit(self, record: logging.LogRecord) -> None:
        try:
            more = {"exc_info": record.exc_info} if record.exc_info else {}
            text = record.getMessage()
            level = max(record.levelno // 10 * 10, logging.DEBUG)
            self._log.log(min(level, logging.CRITICAL), text, logger=record.name, **more)
        except Exception:  # what cannot be said is told as logging does, and stops nobody
            self.handleError(record)


def _shown(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What others sent must not write to a terminal; what is no text is shown by its repr."""
    return {
        name: visible(value) if isinstance(value, str) else value for name, value in fields.items()
    }


def _traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """As :func:`structlog.dev.plain_traceback`; an exception's text may be others' too."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    out.write("\n".join(map(visible, plain.getvalue().split("\n"))))
