"""What every test shares: how hard Hypothesis tries (HYPOTHESIS_PROFILE picks a profile), and what
is told of a test that fails."""

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import reports

# No deadline and no complaint about slow generation: a busy machine is not a failure.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("fuzz", settings.get_profile("ci"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


_begun = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    begun = item.stash.setdefault(_begun, call.start)
    if report.failed:
        report.sections += reports.logs(since=begun)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    data = yield
    return reports.sendable(data)


# Whoever runs the tests in the background of a script has them ignore Ctrl-C, and the processes
# that they start inherit that: those are interrupted on purpose.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
