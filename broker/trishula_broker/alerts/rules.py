"""What is alarming: the rules of ``deploy/prometheus/alerts.yml`` whose data a hub has itself.

Names, times and thresholds are those of that file; docs/operations.md says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from trishula_broker.alerts.sample import History, difference
from trishula_broker.hub.counts import DELIVERY_MS
from trishula_broker.net.meter import SECONDS
from trishula_broker.quantiles import quantile

MINUTE_S: Final = 60.0
DAY_S: Final = 86_400.0
P99: Final = 0.99

Check = Callable[[History], str | None]
"""What is wrong, for people; None when nothing is."""


class Rule(NamedTuple):
    """One of them.

    Attributes:
        for_s: seconds it must hold before it is told.
        unled: nobody may be leading meanwhile, so whoever leads afterwards tells it.
    """

    name: str
    severity: Literal["warning", "critical"]
    for_s: float
    check: Check
    remedy: str
    unled: bool = False


_DELIVERY_S: Final = tuple(bound / 1000 for bound in DELIVERY_MS)


def _slow(limit: float) -> Check:
    def check(history: History) -> str | None:
        found = quantile(SECONDS, difference(history.ago(300).accept, history.now.accept), P99)
        if found is None or found <= limit:
            return None
        return f"it takes {found * 1000:.0f} ms (p99) to accept"

    return check


def _delivery_slow(history: History) -> str | None:
    passed = difference(history.ago(300).delivery, history.now.delivery)
    found = quantile(_DELIVERY_S, passed, P99)
    if found is None or found <= 0.2:
        return None
    return f"it delivers {found * 1000:.0f} ms (p99) after accepting"


def _loop_lag(history: History) -> str | None:
    found = quantile(SECONDS, difference(history.ago(300).lag, history.now.lag), P99)
    return None if found is None or found <= 0.1 else f"the event loop is {found:.2f} s late"


def _commit_stuck(history: History) -> str | None:
    found = history.now.pending_s
    return f"a commit has taken {found:.0f} s" if found > 5 else None


def _commits_fail(history: History) -> str | None:
    found = history.now.failed - history.ago(300).failed
    return f"{found} commits failed in 5 minutes" if found > 0 else None


def _unwell(history: History) -> str | None:
    problem = history.now.problem
    return None if problem is None else f"the archive cannot be written: {problem}"


def _dead_letters(history: History) -> str | None:
    found = history.now.dead_letters - history.ago(900).dead_letters
    return f"{found} dead letters in 15 minutes" if found > 10 else None


def _errors(history: History) -> str | None:
    before, now = history.ago(300), history.now
    return _of(
        now.errors - before.errors,
        now.messages - before.messages,
        now.at - before.at,
        0.01,
        "messages are refused",
    )


def _redeliveries(history: History) -> str | None:
    before, now = history.ago(600), history.now
    return _of(
        now.redelivered - before.redelivered,
        now.delivered - before.delivered,
        now.at - before.at,
        0.05,
        "deliveries are repeated",
    )


def _of(some: int, all_: int, seconds: float, limit: float, what: str) -> str | None:
    """That so large a share is; not where there is less than one a second, for that says little."""
    if all_ <= seconds or some <= limit * all_:
        return None
    return f"{100 * some / all_:.1f} % of {what}"


def _mailbox_full(history: History) -> str | None:
    (agent, messages), limit = history.now.fullest, history.now.mailbox_limit
    if messages <= 0.8 * limit:
        return None
    return f"the mailbox of {agent} holds {messages} messages, and {limit} fit"


def _failover(history: History) -> str | None:
    found = history.now.failovers - history.ago(600).failovers
    return f"it took over the duties {found} times in 10 minutes" if found > 1 else None


def _disk_fills(history: History) -> str | None:
    left = history.disk_free_in(DAY_S)
    return "at the pace of 6 hours the disk is full within a day" if left and left < 0 else None


def _memory(history: History) -> str | None:
    found = history.now.resident
    return f"the process uses {found / 1e9:.1f} GB" if found > 2e9 else None


def _descriptors(history: History) -> str | None:
    found, limit = history.now.descriptors
    return f"{found} of {limit} file descriptors are used" if found > 0.8 * limit else None


def _forged_tokens(history: History) -> str | None:
    before, now = history.ago(300), history.now
    found = now.unproven - before.unproven
    if found <= now.at - before.at:
        return None
    rate = found / (now.at - before.at)
    return f"{rate:.1f} requests a second come without a good token"


def _flapping(history: History) -> str | None:
    before, now = history.ago(600), history.now
    if now.at <= before.at:
        return None
    rate = (now.ended - before.ended) / (now.at - before.at)
    if rate <= 0.2 * ((now.online or 0) + 10) / MINUTE_S:
        return None
    return f"agents come and go: {rate * MINUTE_S:.0f} sessions ended a minute"


def _agents_missing(history: History) -> str | None:
    online = history.now.online
    before = history.most_online(3600, 300)
    if online is None or online >= 0.8 * before:
        return None
    return f"{online} agents are online, and {before} were within the last hour"


def _nobody_leads(history: History) -> str | None:
    return None if history.now.led else "no hub has the duties of the namespace"


def _audit_behind(history: History) -> str | None:
    found = history.now.audit_lag_s
    return f"the archive is {found:.0f} s behind" if found > 60 else None


def _audit_mismatch(history: History) -> str | None:
    found = history.now.mismatches
    return f"the archives of this hub and another differ in {found} blocks" if found else None


def _audit_alarm(history: History) -> str | None:
    found = history.now.alarms
    return f"the audit has something to say: {found} alarms" if found else None


def _store_at_risk(history: History) -> str | None:
    found = history.now.warnings
    return f"{found} settings of the store put mail at risk" if found else None


def _disk_low(history: History) -> str | None:
    now = history.now
    if not now.disk_total or now.disk_free / now.disk_total >= 0.1:
        return None
    return f"{100 * now.disk_free / now.disk_total:.1f} % of the disk is free"


def _certificate_ends(history: History) -> str | None:
    ends = history.now.certificate_ends
    if ends is None or ends - history.now.wall >= 14 * DAY_S:
        return None
    left = (ends - history.now.wall) / DAY_S
    return f"the certificate ends in {left:.1f} days" if left > 0 else "the certificate has ended"


RULES: Final = (
    Rule("TrishulaUnwell", "critical", MINUTE_S, _unwell, "GET /health says why"),
    Rule("TrishulaSlow", "warning", 300, _slow(0.1), "the store, or the processor: /metrics"),
    Rule(
        "TrishulaVerySlow",
        "critical",
        300,
        _slow(0.2),
        "as TrishulaSlow; `broker slo` says whether to go back to the shared folder",
    ),
    Rule("TrishulaDeliverySlow", "warning", 600, _delivery_slow, "`broker agents`: who holds most"),
    Rule("TrishulaLoopLag", "warning", 300, _loop_lag, "something else takes the processor"),
    Rule("TrishulaCommitStuck", "critical", 30, _commit_stuck, "the disk or Redis", unled=True),
    Rule("TrishulaCommitsFail", "critical", 120, _commits_fail, "GET /health/ready", unled=True),
    Rule("TrishulaDeadLetters", "warning", 0, _dead_letters, "`broker deadletters list`"),
    Rule("TrishulaErrors", "warning", 600, _errors, "`broker audit search --event refused`"),
    Rule("TrishulaRedeliveries", "warning", 600, _redeliveries, "handlers that fail, or take long"),
    Rule("TrishulaFlapping", "warning", 600, _flapping, "the hub's log says who, and how"),
    Rule("TrishulaAgentsMissing", "warning", 900, _agents_missing, "`broker agents`"),
    Rule("TrishulaMailboxFull", "warning", 300, _mailbox_full, "start, resume or help that agent"),
    Rule("TrishulaNobodyLeads", "critical", MINUTE_S, _nobody_leads, "`broker nodes`", unled=True),
    Rule("TrishulaFailover", "warning", 0, _failover, "`broker nodes`: which dies or freezes"),
    Rule("TrishulaAuditBehind", "warning", 300, _audit_behind, "the disk of the archive"),
    Rule(
        "TrishulaAuditMismatch",
        "critical",
        0,
        _audit_mismatch,
        "`broker audit verify` on both; keep the files",
    ),
    Rule("TrishulaAuditAlarm", "warning", 0, _audit_alarm, "GET /health: audit.alarms"),
    Rule("TrishulaStoreAtRisk", "warning", 300, _store_at_risk, "GET /health: store.warnings"),
    Rule("TrishulaDiskLow", "warning", 300, _disk_low, "[retention] and [audit]: what may go"),
    Rule("TrishulaDiskFills", "warning", 3600, _disk_fills, "[retention] and [audit]: what may go"),
    Rule("TrishulaMemory", "warning", 900, _memory, "slow readers: `broker agents`"),
    Rule("TrishulaDescriptors", "warning", 300, _descriptors, "LimitNOFILE of the service"),
    Rule("TrishulaForgedTokens", "warning", 600, _forged_tokens, "the audit has the addresses"),
    Rule("TrishulaCertificateEnds", "warning", 3600, _certificate_ends, "renew it, then SIGHUP"),
)
"""In the order of that file."""

UNTOLD: Final = {
    "TrishulaDown": "a hub that is down tells nothing",
    "TrishulaErrorBudgetBurns": "that no hub was well is not seen by one that was not",
    "TrishulaErrorBudgetSpent": "likewise, and no process has run for a month",
}
"""The others of that file, and why no hub can know."""
