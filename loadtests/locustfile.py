"""Locust users that are agents: they register, command one another, broadcast, and come back.

    python -m locust -f loadtests/locustfile.py --headless --host ws://127.0.0.1:8765

Each user is a registered agent over a real WebSocket. It sends COMMANDs to others, which answer
with RESULTs, and now and then a STATUS; one of them broadcasts; and every so often a tenth of
them lose their connections in the same moment and come back at once. The stages and the pass marks
that decide the exit code (1 when one is missed) may be set by environment:

    TRISHULA_LOAD_STAGES      USERS:SECONDSs, comma-separated: 100:30s,200:30s,1000:60s,0:15s
    TRISHULA_LOAD_SPAWN       users that come, or go, a second: 50
    TRISHULA_LOAD_PACE        requests of each user a second: 0.75
    TRISHULA_LOAD_STORM_S     seconds between two reconnect storms: 20
    TRISHULA_LOAD_BROADCAST_S seconds between two broadcasts: 10
    TRISHULA_LOAD_CONNECT_MS, TRISHULA_LOAD_RATE, TRISHULA_LOAD_ERRORS   the marks: 500, 1000, 1
    TRISHULA_LOAD_KEYS        the hub's key file, when it has one: each user gets a token
    TRISHULA_CA_FILE          what to trust for wss:// instead of the system's certificates

Broadcasts reach every agent the hub knows: give it a hub of its own, as `make load` does.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import random
import secrets
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep
from typing import Any, Final

from locust import LoadTestShape, User, constant_pacing, events, tag, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import LocalRunner

from loadtests.swarm import marks, stages
from loadtests.swarm.agent import Counters, LoadError, SocketAgent
from trishula.options import hub_urls
from trishula_broker.benchmark.passes import Passes

RUN: Final = secrets.token_hex(3)
STAGES: Final = stages.parse(os.environ.get("TRISHULA_LOAD_STAGES", stages.DEFAULT))
MARKS: Final = marks.from_environment(os.environ)
LINGER_SECONDS: Final = 1.0
"""How long a user that is to go answers what was sent to it before nobody picked it any more."""
GOING_SECONDS: Final = 15.0
"""How long one that goes is waited for at the end."""
STORM_PARTS: Final = 10
"""A storm takes one in so many users; the next storm takes the next part."""

_log = logging.getLogger("loadtests")


def setting(name: str, usual: float) -> float:
    """A number above 0 from the environment."""
    text = os.environ.get(f"TRISHULA_LOAD_{name}", str(usual))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"TRISHULA_LOAD_{name}: {text!r} is not a number above 0")
    return value


SPAWN: Final = setting("SPAWN", 50)
PACE: Final = setting("PACE", 0.75)
STORM_S: Final = setting("STORM_S", 20)
BROADCAST_S: Final = setting("BROADCAST_S", 10)
KEYS: Final = os.environ.get("TRISHULA_LOAD_KEYS")
PASSES: Final = Passes(Path(KEYS), sum(each.seconds for each in STAGES)) if KEYS else None


class Field:
    """What all users share.

    Attributes:
        here: agents that may be written to, by number.
        going: those that are on their way out.
        connects_ms: how long each registration took.
        peak: for the time in which all users were there: its begin, its end, and the messages
            that had been accepted by then.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self.here: dict[int, AgentUser] = {}
        self.connects_ms: list[float] = []
        self.going: list[Thread] = []
        self.numbers = itertools.count()
        self.peak_begin: tuple[float, int] | None = None
        self.peak_end: tuple[float, int] | None = None

    def note_peak(self, at_peak: bool) -> None:
        """Called about every second: whether all users are there."""
        now = (perf_counter(), self.counters.accepted)
        if at_peak:
            self.peak_begin = self.peak_begin or now
            self.peak_end = now

    def figures(self, requests: int, failures: int) -> marks.Figures:
        """What was found."""
        (begun, before), (ended, after) = self.peak_begin or (0, 0), self.peak_end or (0, 0)
        return marks.Figures(self.connects_ms, after - before, ended - begun, requests, failures)


FIELD: Final = Field()


class AgentUser(User):
    """An agent."""

    abstract = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.number = next(FIELD.numbers)
        [url, *_] = hub_urls(self.host)
        name = f"load-{RUN}-{self.number}"
        self.agent = SocketAgent(url, name, FIELD.counters, token=token(name))

    def on_start(self) -> None:
        """Come; a user that cannot is over."""
        if not self.connect("connect"):
            raise StopUser
        FIELD.here[self.number] = self

    def on_stop(self) -> None:
        """Go, once nobody expects an answer any more; Locust does not wait for that."""
        if FIELD.here.pop(self.number, None) is not None:
            going = Thread(target=self.go, daemon=True)
            FIELD.going.append(going)
            going.start()

    def go(self) -> None:
        """Have the hub forget the agent."""
        sleep(LINGER_SECONDS)
        try:
            if not self.agent.is_open:
                self.agent.open()
            self.agent.leave()
        except LoadError as error:
            _log.warning("%s is not forgotten: %s", self.agent.name, error)

    def connect(self, what: str) -> bool:
        """Register, measured; whether that went well."""
        begun = perf_counter()
        failure = self.measured(what, self.agent.open)
        FIELD.connects_ms.append(math.inf if failure else (perf_counter() - begun) * 1e3)
        return failure is None

    def come_back(self) -> None:
        """Lose the connection, and be back at once."""
        self.agent.drop()
        self.connect("reconnect")

    def request(self, what: str, work: Any, *args: Any) -> None:
        """Do something that needs a connection, measured."""
        if not self.agent.is_open and self.number in FIELD.here and not STORMS.blows:
            self.report(what, 0, LoadError(f"the connection was lost: {self.agent.error}"))
            self.connect("reconnect")
            return
        self.measured(what, work, *args)

    def measured(self, what: str, work: Any, *args: Any) -> LoadError | None:
        """Do something, and tell Locust how long it took."""
        begun = perf_counter()
        failure = None
        try:
            work(*args)
        except LoadError as error:
            failure = error
        self.report(what, (perf_counter() - begun) * 1e3, failure)
        return failure

    def report(self, what: str, ms: float, failure: LoadError | None) -> None:
        """A line of Locust's statistics."""
        self.environment.events.request.fire(
            request_type="trishula",
            name=what,
            response_time=ms,
            response_length=0,
            exception=failure,
            context={},
        )

    def other(self) -> str | None:
        """The name of some other agent that is here."""
        number = random.choice(list(FIELD.here))
        if number == self.number:
            return None
        return FIELD.here[number].agent.name


class Worker(AgentUser):
    """Commands others, and tells them things."""

    wait_time = constant_pacing(1 / PACE)

    @tag("command")
    @task(9)
    def command(self) -> None:
        """A COMMAND until its RESULT is here."""
        to = self.other()
        if to is not None:
            self.request("command", self.agent.command, to, {"text": "x" * 200})

    @tag("status")
    @task(1)
    def status(self) -> None:
        """A STATUS until it is accepted."""
        to = self.other()
        if to is not None:
            self.request("status", self.agent.send, "STATUS", to, {"text": "x" * 200})


class Crier(AgentUser):
    """Tells everybody."""

    fixed_count = 1
    wait_time = constant_pacing(BROADCAST_S)

    @task
    def broadcast(self) -> None:
        """A STATUS to all until it is accepted."""
        if len(FIELD.here) > 1:
            payload = {"text": "to all"}
            self.request("broadcast", self.agent.send, "STATUS", "broadcast", payload)


class Storms:
    """Every so often a part of the users loses its connections in the same moment.

    Locust has made threads greenlets, and sleeping a matter of theirs.
    """

    def __init__(self) -> None:
        self.blows = False
        self._over = False

    def start(self) -> None:
        """Begin with the test."""
        Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """The users are to go; they go in peace."""
        self._over = True

    def _run(self) -> None:
        for part in itertools.cycle(range(STORM_PARTS)):
            sleep(STORM_S)
            if self._over:
                return
            hit = [user for number, user in FIELD.here.items() if number % STORM_PARTS == part]
            storm = [Thread(target=user.come_back) for user in hit]
            self.blows = True
            for each in storm:
                each.start()
            for each in storm:
                each.join()
            self.blows = False


STORMS: Final = Storms()


class Stages(LoadTestShape):
    """As many users as the stage says."""

    def tick(self) -> tuple[int, float] | None:
        """Users, and how many come or go a second; None is the end."""
        number = stages.at(STAGES, self.get_run_time())
        all_here = number == stages.peak(STAGES) and len(FIELD.here) >= STAGES[number].users
        FIELD.note_peak(all_here)
        if number is None or not STAGES[number].users:
            STORMS.stop()
        if number is None:
            return None
        return STAGES[number].users, SPAWN


def token(name: str) -> str | None:
    """What the user proves its name with, if the hub asks for that."""
    return None if PASSES is None else PASSES.token(name)


@events.init.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Refuse what the figures cannot be had in."""
    if not isinstance(environment.runner, LocalRunner):
        raise SystemExit("loadtests: one process only: leave --master, --worker, --processes out")


@events.test_start.add_listener
def blow(**_: Any) -> None:
    """The storms begin with the test."""
    STORMS.start()


@events.quitting.add_listener
def end(environment: Environment, **_: Any) -> None:
    """Tell what was reached, and end accordingly."""
    for each in FIELD.going:
        each.join(GOING_SECONDS)
    total = environment.stats.total
    found = marks.judge(FIELD.figures(total.num_requests, total.num_failures), MARKS)
    for reached, text in found:
        print(f"{'reached' if reached else 'MISSED '}: {text}")
    counters = FIELD.counters
    print(f"{counters.accepted} messages accepted, {counters.delivered} delivered")
    environment.process_exit_code = 0 if all(reached for reached, _ in found) else 1
