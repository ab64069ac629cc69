"""A headless Chromium, the system's own, with the switches that keep it to this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_MS = 120_000
"""For whatever a page is to do or show; only what never happens takes so long."""


def chromium() -> str:
    """Its program.

    Raises:
        RuntimeError: there is none.
    """
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    raise RuntimeError("no Chromium on the PATH; `make test` installs it")


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """One, ended with the context."""
    switches = list(SWITCHES)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        switches.append("--no-sandbox")  # its sandbox does not work for root
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=chromium(), args=switches, timeout=PATIENCE_MS
        )
        try:
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def context(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """Pages that have nothing in common with others', and patience."""
    made = await browser.new_context(**options)
    made.set_default_timeout(PATIENCE_MS)
    try:
        yield made
    finally:
        await made.close()


class Watched:
    """A page, and whatever it complained about.

    Attributes:
        complaints: errors of its console, exceptions, and requests that were blocked.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))

    def _said(self, message: Any) -> None:
        # A hub that was killed on purpose is reported by the browser itself, not by the page.
        if message.type == "error" and "ERR_" not in message.text:
            self.complaints.append(message.text)
