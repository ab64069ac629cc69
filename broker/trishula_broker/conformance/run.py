"""Tries rules at a hub, several at a time, and says which hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from websockets.exceptions import WebSocketException

from trishula_broker.conformance.lab import Lab, Site
from trishula_broker.conformance.rule import Broken, Rule, Skipped

Verdict = Literal["holds", "broken", "skipped"]


class Result(msgspec.Struct, frozen=True):
    """What was found of a rule."""

    rule: str
    section: str
    verdict: Verdict
    text: str
    """What the rule says."""
    why: str
    """What the hub did otherwise, or why it was not tried; empty where it holds."""
    ms: int


async def run(
    rules: Sequence[Rule],
    site: Site,
    at_once: int = 8,
    progress: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Try ``rules``, each with agents of its own; what was found, in their order.

    Args:
        at_once: so many are tried at a time: most of it is waiting.
        progress: told each as it comes.
    """
    room = asyncio.Semaphore(at_once)

    async def one(rule: Rule) -> Result:
        async with room:
            found = await _try(rule, site)
        progress(found)
        return found

    return list(await asyncio.gather(*(one(each) for each in rules)))


async def _try(rule: Rule, site: Site) -> Result:
    lab = Lab(site)
    begun = time.monotonic()
    verdict: Verdict = "holds"
    why = ""
    try:
        await rule.check(lab)
    except Skipped as skipped:
        verdict, why = "skipped", str(skipped)
    except Broken as broken:
        verdict, why = "broken", str(broken)
    except (OSError, WebSocketException) as error:  # TimeoutError is an OSError
        verdict, why = "broken", f"no connection: {str(error) or type(error).__name__}"
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        # An answer of another shape than the protocol's; what that is, the rule relied on.
        verdict, why = "broken", f"an answer of another shape: {type(error).__name__}: {error}"
    ms = round((time.monotonic() - begun) * 1000)
    await lab.tidy()
    return Result(rule.name, rule.section, verdict, rule.text, why, ms)
