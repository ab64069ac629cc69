"""``broker bench``: a load on a hub, what it shows, and whether that is good enough."""

from __future__ import annotations

import asyncio
import importlib.metadata
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from trishula_broker.cli.durations import Span
from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.cli.load_progress import Screen, screen
from trishula_broker.cli.options import load_config
from trishula_broker.cli.session import Session, note, session_options
from trishula_broker.cli.text import counted

if TYPE_CHECKING:
    from trishula_broker.benchmark.report import Report
    from trishula_broker.benchmark.run import Run
    from trishula_broker.benchmark.talk import Member, Plan

BENCH_EPILOG: Final = (
    "Exit codes: 0 done, every target met; 1 the hub refused an agent; 2 wrong usage; 3 no hub "
    "reached; 5 a target was missed; 130 interrupted."
)
LARGEST: Final = 1 << 19
"""Characters of a message's text; the hub's frames have a mebibyte."""


@click.command("bench", epilog=BENCH_EPILOG)
@click.option(
    "--duration", type=Span(), default="60s", show_default=True, help="How long messages are sent."
)
@click.option(
    "--connections",
    type=click.IntRange(1, 10_000),
    default=3,
    show_default=True,
    help="Agents that send; each has one that receives, unless --fan-out is given.",
)
@click.option(
    "--rate",
    default="100",
    show_default=True,
    metavar="N|max",
    help="Messages a second of all senders together; max: as fast as they are accepted.",
)
@click.option(
    "--size",
    type=click.IntRange(0, LARGEST),
    default=200,
    show_default=True,
    help="Bytes of each message's text.",
)
@click.option(
    "--priority-mix",
    metavar="PRIORITY:WEIGHT,...",
    default="",
    help="Such as 1:5,3:90,5:5; by default every message has priority 3.",
)
@click.option(
    "--fan-out",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Receivers of each message: so many agents in one group that every sender writes to.",
)
@click.option(
    "--window",
    type=click.IntRange(1, 10_000),
    default=512,
    show_default=True,
    help="With --rate max: messages a sender may have that are not accepted yet.",
)
@click.option(
    "--node",
    "node",
    metavar="URL[,URL...]",
    help="Where receivers connect; by default where senders do. For hubs that share a store.",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The hub's key file, where it has one: agents made for the run get tokens from it.",
)
@click.option(
    "--max-p99", type=Span(), metavar="TIME", help="Fail when p99 of the latency is longer."
)
@click.option(
    "--min-rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Fail when fewer messages a second come through.",
)
@click.option(
    "--min-success",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="PERCENT",
    help="Fail when a smaller share of the messages comes through.",
)
@click.option(
    "--max-connect", type=Span(), metavar="TIME", help="Fail when an agent took longer to connect."
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw the latencies: a .png, .svg or .pdf. Needs `pip install 'trishula[bench]'`.",
)
@session_options(
    environment=False,
    as_help="Send as this agent to itself; it must be offline, with an empty mailbox. By default "
    "agents are made for the run, and forgotten after it.",
)
def command(
    session: Session,
    duration: float,
    connections: int,
    rate: str,
    size: int,
    priority_mix: str,
    fan_out: int,
    window: int,
    node: str | None,
    keys: Path | None,
    max_p99: float | None,
    min_rate: float | None,
    min_success: float | None,
    max_connect: float | None,
    plot: Path | None,
) -> None:
    """Put a load on a hub and tell connection times, latencies, throughput, and what went wrong.

    Messages are sent when the schedule says so, whatever became of those before, and their
    latency counts from that moment until the receiving application has them: a hub that stalls is
    charged for every message it held up. With --rate max it counts from the sending.

    Progress is on stderr, the result on stdout. Ctrl-C ends the run early, and shows what there is.

    \b
    Examples:
      broker bench --duration 10s --rate 1000 --max-p99 50ms --min-success 99.9
      broker bench --rate max --connections 10 --json > figures.json
      broker bench --url ws://host-a:8765 --node ws://host-b:8765 --plot latency.png
    """
    from trishula_broker.benchmark import plot as picture
    from trishula_broker.benchmark.report import Targets, document, lines, missed
    from trishula_broker.benchmark.run import BenchFailed, Run

    if session.name is not None and keys is not None:
        raise click.UsageError("--keys makes agents for the run; leave --as and the token out.")
    if session.name is not None and fan_out > 1:
        raise click.UsageError(
            "--fan-out needs several receivers, and --as, or a token, is one agent; with the "
            "hub's keys use --keys."
        )
    if plot is not None and (fault := picture.fault(plot)):
        raise click.UsageError(f"--plot: {fault}.")
    targets = Targets(
        max_p99_ms=_ms(max_p99),
        min_rate=min_rate,
        min_success=min_success,
        max_connect_ms=_ms(max_connect),
    )
    load = Load(duration, connections, _rate(rate), size, _mix(priority_mix), fan_out, window, keys)
    sending, receiving = _plans(session, node, load)
    if session.name is not None:
        _check_idle(session)
    with screen(duration, sys.stderr) as shown:
        run = Run(sending, receiving, shown.show, shown.note)
        try:
            report = session.run(_interruptible(run, shown, importlib.metadata.version("trishula")))
        except BenchFailed as error:
            raise Failure(ExitCode(error.code), error.text) from None
    misses = missed(report, targets)
    if session.out.as_json:
        session.out.document(document(report, misses))
    else:
        session.out.lines(*lines(report))
    if plot is not None:
        try:
            picture.draw(report, plot)
        except OSError as error:
            raise Failure(ExitCode.REFUSED, f"--plot: {plot}: {error.strerror}") from None
    for each in misses:
        note(f"missed: {each.text}")
    if report.interrupted:
        sys.exit(ExitCode.INTERRUPTED)
    if misses:
        sys.exit(ExitCode.MISSED)


async def _interruptible(run: Run, shown: Screen, version: str) -> Report:
    """The run; Ctrl-C, or SIGTERM, cuts it short, and another one ends it at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    asked = False

    def interrupt() -> None:
        nonlocal asked
        if asked or not run.begun:
            task.cancel()
            return
        asked = True
        run.stop()
        shown.note(
            "interrupted: finishing; once more ends it at once, and the hub forgets its agents"
        )

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        return await run.run(version)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class Load(NamedTuple):
    """What the options say of the load."""

    seconds: float
    connections: int
    rate: float
    size: int
    mix: dict[int, int]
    fan_out: int
    window: int
    keys: Path | None


def _plans(session: Session, node: str | None, load: Load) -> tuple[Plan, Plan]:
    """What the process with the senders is to do, and the one with the receivers."""
    import msgspec

    from trishula_broker.benchmark.talk import Member, Plan

    run = secrets.token_hex(4)
    if session.name is None:
        make = _maker(load)
        count = load.fan_out if load.fan_out > 1 else load.connections
        receivers = [make(f"bench-{run}-to-{n}") for n in range(count)]
        senders = [make(f"bench-{run}-from-{n}") for n in range(load.connections)]
    else:
        token = session.token() if callable(session.token) else session.token
        one = Member(session.name, token, lasting=True)
        receivers = [one]
        senders = [msgspec.structs.replace(one, receive=False)] * load.connections
    sending = Plan(
        run=run,
        urls=session.urls,
        connect_s=session.connect_seconds,
        members=senders,
        group=f"bench-{run}" if load.fan_out > 1 else "",
        to=[each.name for each in receivers],
        seconds=load.seconds,
        rate=load.rate,
        size=load.size,
        mix=load.mix,
        window=load.window,
        fan_out=load.fan_out,
        ca_file=session.ca_file,
    )
    urls = session.urls if node is None else _node_urls(node)
    return sending, msgspec.structs.replace(sending, urls=urls, members=receivers)


def _maker(load: Load) -> Callable[[str], Member]:
    """What makes an agent for the run, with a token where there are keys."""
    from trishula_broker.benchmark.talk import Member

    if load.keys is None:
        return Member
    from trishula_broker.auth.errors import AuthError
    from trishula_broker.benchmark.passes import Passes

    auth = load_config(None, auth_keys=str(load.keys)).config.auth
    try:
        passes = Passes(load.keys, load.seconds, auth.issuer, auth.audience)
    except AuthError as error:
        raise Failure(ExitCode.REFUSED, str(error)) from None
    return lambda name: Member(name, passes.token(name))


def _check_idle(session: Session) -> None:
    """The run takes over the agent's session and would be handed its mail: it must have neither."""
    known = session.ask(lambda agent: agent.agents())
    record = next((each for each in known if each["id"] == session.name), None)
    if record is not None and (record["online"] or record["unsettled"]):
        waiting = counted(record["unsettled"], "message")
        why = "is online" if record["online"] else f"has {waiting} waiting"
        raise click.UsageError(
            f"{session.name} {why}: use an agent that nobody else uses, or the hub's --keys."
        )


def _node_urls(node: str) -> list[str]:
    from trishula.options import hub_urls
    from trishula.websocket import check_url

    try:
        urls = hub_urls(node)
        for url in urls:
            check_url(url)
    except ValueError as error:
        raise click.UsageError(f"--node: {str(error).partition(': ')[2] or error}.") from None
    return urls


def _rate(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1e6:
        raise click.UsageError(
            f"--rate: {text!r} is no rate: messages a second, up to 1000000, or max."
        )
    return rate


def _mix(text: str) -> dict[int, int]:
    from trishula_broker.benchmark.schedule import parse_mix

    try:
        return parse_mix(text) if text else {}
    except ValueError as error:
        raise click.UsageError(f"--priority-mix: {error}.") from None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
