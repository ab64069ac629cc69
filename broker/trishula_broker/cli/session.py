"""What every command that speaks to a hub has in common: its options, its agent, its end."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from trishula_broker.cli.durations import Span
from trishula_broker.cli.exits import ExitCode, Failure, exits
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.text import visible
from trishula_broker.cli.token_file import read_token, subject_of, token_in

if TYPE_CHECKING:  # the SDK is imported once the command line is found to be good
    from trishula import Agent

ANSWER_SECONDS: Final = 30.0
"""How long the hub may take to answer one question, or to accept one message."""
CONNECT_SECONDS: Final = 3.0
"""How long the first hub is tried ..."""
CONNECT_SECONDS_MORE: Final = 5.0
"""... and how much longer for each further one: the SDK gives a silent hub this long."""

OWN_PREFIX: Final = "cli-"
"""Of the names that commands make for themselves."""

T = TypeVar("T")


class Session:
    """What the common options say.

    Attributes:
        name: the agent named with ``--as``, or the one the token is for; None for a name of the
            command's own.
        out: where results go.
        ca_file: what ``wss://`` trusts; None for the system's certificates.
        token: what the hub is shown, or what reads it from its file; None without one.
    """

    def __init__(
        self,
        url: str | None,
        name: str | None,
        as_json: bool,
        connect_timeout: float | None,
        token: str | Callable[[], str] | None = None,
        ca_file: str | None = None,
    ) -> None:
        self.name = name
        self.ca_file = ca_file
        self.token = token
        self.out = Output(as_json)
        self._url = url
        self._connect_timeout = connect_timeout

    def agent(self, *, receive: bool = False, ephemeral: bool = True, **options: Any) -> Agent:
        """The agent that speaks; by default a side session, which disturbs nobody."""
        from trishula import Agent

        return Agent(
            self.name or own_name(),
            self.urls,
            receive=receive,
            ephemeral=ephemeral,
            connect_timeout=self.connect_seconds,
            token=self.token,
            ca_file=self.ca_file,
            **options,
        )

    @property
    def urls(self) -> list[str]:
        """The hubs, in the order in which to try them."""
        from trishula.options import hub_urls

        return hub_urls(self._url)

    @property
    def connect_seconds(self) -> float:
        """How long an agent tries to reach one of them."""
        if self._connect_timeout is not None:
            return self._connect_timeout
        return CONNECT_SECONDS + CONNECT_SECONDS_MORE * (len(self.urls) - 1)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work``."""
        _hear(logging.ERROR)
        return asyncio.run(work)

    def follow(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` that goes on until it is interrupted, or nobody reads what it prints.

        What the SDK says of its connection goes to stderr.
        """
        _hear(logging.INFO)
        return asyncio.run(self.out.while_read(work))

    def visit(self, work: Callable[[Agent], Awaitable[T]]) -> T:
        """Do ``work`` with an agent in a side session."""

        async def visiting() -> T:
            async with self.agent() as agent:
                return await work(agent)

        return self.run(visiting())

    def ask(self, question: Callable[[Agent], Awaitable[T]]) -> T:
        """One question, in a side session; its answer."""
        return self.visit(lambda agent: self.answer(question(agent)))

    async def answer(self, question: Awaitable[T], seconds: float = ANSWER_SECONDS) -> T:
        """What the hub answers, within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                return await question
        except TimeoutError:
            raise Failure(
                ExitCode.TIMED_OUT, f"the hub did not answer within {seconds:g} s; ask again"
            ) from None


def session_options(
    *, required: bool = False, environment: bool = True, as_help: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the common options; the command gets a :class:`Session` before its own parameters.

    Args:
        required: ``--as`` or a token must be given.
        environment: ``TRISHULA_AGENT`` is the default of ``--as``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def call(**params: Any) -> None:
            with exits():
                path = params.pop("token_file")
                token = read_token(path)
                # A command that runs for long reads the file again before the token expires.
                params["token"] = token if path is None else functools.partial(token_in, path)
                params["name"] = params["name"] or subject_of(token)
                if required and params["name"] is None:
                    raise _nobody()
                common = ("url", "name", "as_json", "connect_timeout", "token", "ca_file")
                command(Session(*(params.pop(key) for key in common)), **params)

        wrapped: Callable[..., None] = call
        for option in (
            click.option(
                "--connect-timeout",
                type=Span(),
                metavar="TIME",
                help="How long to try to reach a hub; by default 3, and 5 more for each "
                "further URL.",
            ),
            as_json_option,
            click.option(
                "--as",
                "name",
                metavar="AGENT",
                envvar="TRISHULA_AGENT" if environment else None,
                show_envvar=environment,
                help=(as_help or "The agent to ask as, in a side session: a running one goes on.")
                + " With a token, the agent it is for.",
            ),
            click.option(
                "--token-file",
                metavar="FILE",
                help="A file with the token that the hub asks for; by default it is taken from "
                "TRISHULA_TOKEN. Not an option itself: those are seen by everybody on the host.",
            ),
            click.option(
                "--ca-file",
                metavar="FILE",
                envvar="TRISHULA_CA_FILE",
                show_envvar=True,
                help="Certificates to trust for wss://, in PEM, instead of the system's.",
            ),
            click.option(
                "--url",
                metavar="URL[,URL...]",
                envvar="TRISHULA_URL",
                show_envvar=True,
                help="The hubs, tried in this order; by default ws://127.0.0.1:8765/ws.",
            ),
        ):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _nobody() -> click.MissingParameter:
    return click.MissingParameter(
        "It is not needed with a token.",
        click.get_current_context(),
        param_hint="'--as' (env var: 'TRISHULA_AGENT')",
        param_type="option",
    )


def own_name() -> str:
    """A name nobody else has."""
    import getpass

    try:
        user = re.sub("[^a-z0-9_-]", "", getpass.getuser().lower())[:24]
    except (KeyError, OSError):  # a container may not know its user
        user = ""
    return OWN_PREFIX + "-".join(filter(None, (user, secrets.token_hex(4))))


def note(text: str) -> None:
    """A line on stderr, beside the results."""
    if sys.stderr is not None:
        os.write(sys.stderr.fileno(), f"{visible(text)}\n".encode(errors="backslashreplace"))


def _hear(level: int) -> None:
    log = logging.getLogger("trishula")
    log.addHandler(_Notes(level))
    log.setLevel(min(level, logging.WARNING))


class _Notes(logging.Handler):
    """The SDK's log, without repeating what was said last, or that all is well at the beginning:
    the command says where it is."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._least = level
        self._last = ""
        self._begun = False

    def emit(self, record: logging.LogRecord) -> None:
        from trishula import TrishulaError
        from trishula.engine import WAITS

        # A command that waits for the hub says what for, whatever else it keeps to itself.
        if record.levelno < self._least and not hasattr(record, WAITS):
            return
        args = record.args if isinstance(record.args, tuple) else ()
        if any(isinstance(each, TrishulaError) for each in args):
            return  # the command ends by it, and says so
        begun, self._begun = self._begun, True
        if not begun and record.levelno == logging.INFO:
            return
        text = record.getMessage()
        if text != self._last:
            self._last = text
            note(text)
