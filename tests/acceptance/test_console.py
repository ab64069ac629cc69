"""The console in a real browser: an operator's night, without loading the page again."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.support.browser import PATIENCE_MS, Watched, browser, context
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.two_hubs import two_hubs
from trishula import Agent, Message
from trishula_protocol.bodies import FolderMode

SHOTS = os.environ.get("TRISHULA_SCREENSHOTS")
"""A folder for pictures of the views; `make screenshots` sets it."""
expect.set_options(timeout=PATIENCE_MS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as running:
        yield running


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@asynccontextmanager
async def opened(chrome: Browser, hub: HubProcess, **options: object) -> AsyncIterator[Watched]:
    # Nothing moves: what comes in while colours are judged is not faint.
    async with context(chrome, reduced_motion="reduce", **options) as apart:
        page = await apart.new_page()
        watched = Watched(page)
        await page.goto(hub.http_url)
        # Set by this page only: whoever loads it again, loses it.
        await page.evaluate("window.loadedOnce = true")
        yield watched
        assert await page.evaluate("window.loadedOnce") is True
        assert watched.complaints == []


async def sign_in(page: Page, token: str) -> None:
    await page.get_by_label("Token of an operator").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("status")).to_have_text("live")


async def go(page: Page, place: str) -> None:
    await page.get_by_role("navigation").get_by_role("link", name=place).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(place)


async def look(page: Page, name: str) -> None:
    """Serious findings of axe fail; a picture is taken where somebody wants them."""
    for theme in ("light", "dark"):
        found = await Axe().run(page)
        serious = [
            f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']][:3]}"
            for each in found.response["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], (name, theme)
        if SHOTS:
            await page.screenshot(path=Path(SHOTS) / f"{name}-{theme}.png", full_page=True)
        await page.get_by_role("button", name="colours").click()


async def count(message: Message) -> dict[str, int]:
    await message.progress("counting")
    return {"words": len(message.payload["text"].split())}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_command_its_life_and_a_dead_letter(
    tmp_path: Path, chrome: Browser, keys: Keys
) -> None:
    async def refuse(message: Message) -> None:
        await message.reject("no such revision")

    async with (
        HubProcess(tmp_path / "data", "--keys", str(keys.path)) as hub,
        AsyncExitStack() as agents,
        opened(chrome, hub) as watched,
    ):
        page = watched.page
        await sign_in(page, keys.token("mira", role="operator"))

        async def join(name: str, **options: object) -> Agent:
            agent = Agent(name, hub.url, token=keys.token(name), **options)  # type: ignore[arg-type]
            return await agents.enter_async_context(agent)

        agni = await join("agni", capabilities=["count"], groups=["ops"])
        agni.on_command(count)
        vayu = await join("vayu", capabilities=["build"])
        vayu.on_command(refuse)
        dc = await join("dc", groups=["ops"])

        # Three agents come, and are seen.
        await go(page, "Agents")
        for name in ("agni", "vayu", "dc"):
            row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name))
            await expect(row).to_contain_text("online")
        await look(page, "agents")

        # A command from here, and its RESULT.
        await page.get_by_role("link", name="agni", exact=True).click()
        await page.get_by_label("Payload, JSON").fill('{"text": "nothing accepted is lost"}')
        await page.get_by_role("button", name="Send", exact=True).click()
        await expect(page.get_by_text('"words": 4')).to_be_visible()
        await look(page, "agent")

        # Its life.
        await page.get_by_text("Stored as").get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Message")
        life = page.locator(".copy").filter(has=page.get_by_role("link", name="agni"))
        await expect(life.locator(".badge")).to_have_text("done")
        for step in ("accepted", "delivered", "done"):
            await expect(life.get_by_role("listitem").filter(has_text=step)).to_contain_text(":")
        await look(page, "message")
        await page.get_by_role("link", name="its thread").click()
        await expect(page.locator(".talk > li")).to_have_count(3)  # asked, counting, answered
        await look(page, "thread")

        # What passes.
        await go(page, "Traffic")
        await dc.send("#ops", {"text": "the night is long"})
        await expect(page.get_by_text("the night is long").first).to_be_visible()
        await look(page, "traffic")
        search = page.get_by_role("search")
        await search.get_by_label("Text").fill("night is long")
        await search.get_by_role("button", name="Search").click()
        found = page.locator(".panel").filter(has=search).get_by_role("listitem")
        await expect(found.filter(has_text="the night is long")).to_have_count(1)

        # A dead letter gets another chance, with an agent that takes it now.
        await dc.send("vayu", {"rev": "f00"}, type="COMMAND")
        await go(page, "Dead letters")
        letter = page.locator(".panel").filter(has_text="no such revision")
        await expect(letter).to_have_count(1)
        await look(page, "deadletters")
        taken: list[object] = []

        async def take(message: Message) -> dict[str, bool]:
            taken.append(message.payload)
            return {"built": True}

        await vayu.close()
        again = Agent("vayu", hub.url, token=keys.token("vayu"))
        again.on_command(take)
        await agents.enter_async_context(again)
        await letter.get_by_role("button", name="Retry").click()
        await page.get_by_role("dialog").get_by_role("button", name="Retry").click()
        await expect(page.get_by_text("waits in the mailbox of vayu again")).to_be_visible()
        await expect(letter).to_have_count(0)

        # Paused, and resumed, each after a question.
        await go(page, "Agents")
        await page.get_by_role("link", name="agni", exact=True).click()
        await page.get_by_role("button", name="Pause").click()
        await page.get_by_label("Why").fill("a look at its disk")
        await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        await expect(page.locator(".summary")).to_contain_text("paused")
        await page.get_by_role("button", name="Resume").click()
        await page.get_by_role("dialog").get_by_role("button", name="Resume").click()
        await expect(page.locator(".summary")).to_contain_text("online")

        # Its tokens taken back: it is gone within seconds.
        await page.get_by_role("button", name="Revoke its tokens").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(page.locator(".summary")).to_contain_text("offline")

        await go(page, "Tokens")
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name="agni"))
        await expect(row).to_contain_text("revoked")
        await look(page, "tokens")
        await go(page, "Audit")
        await page.get_by_label("Event").select_option("operator")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator(".lines li").first).to_be_visible()
        await look(page, "audit")
        await go(page, "Nodes")
        await expect(page.get_by_text("answers this page")).to_be_visible()
        await look(page, "nodes")
        await go(page, "Overview")
        await expect(page.locator(".figure").filter(has_text="agents online")).to_contain_text("2")
        await look(page, "overview")
        assert taken == [{"rev": "f00"}]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_failover_is_seen_as_it_happens(tmp_path: Path, chrome: Browser) -> None:
    async with (
        two_hubs(tmp_path) as (one, two),
        Agent("agni", [one.url, two.url]),
        opened(chrome, two) as watched,
    ):
        page = watched.page
        await page.get_by_role("button", name="Sign in").click()
        await go(page, "Nodes")
        table = page.get_by_role("table", name="Nodes")
        first = table.get_by_role("row").filter(has_text="primary")
        second = table.get_by_role("row").filter(has_text="failover")
        await expect(first).to_contain_text("alive")
        await expect(first).to_contain_text("leads")
        await one.kill()
        await expect(first).to_contain_text("away")
        await expect(second).to_contain_text("leads")
        await look(page, "failover")
        await go(page, "Agents")
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name="agni"))
        await expect(row).to_contain_text("two")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_hub_that_is_away_is_said_and_found_again(tmp_path: Path, chrome: Browser) -> None:
    async with HubProcess(tmp_path / "data") as hub, opened(chrome, hub) as watched:
        page = watched.page
        await page.get_by_role("button", name="Sign in").click()
        status = page.get_by_role("status")
        await expect(status).to_have_text("live")
        await hub.kill()
        await expect(status).to_have_text("no hub answers")
        await hub.start()
        await expect(status).to_have_text("live")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_hub_that_falls_silent_is_not_taken_for_live(
    tmp_path: Path, chrome: Browser
) -> None:
    async with HubProcess(tmp_path / "data") as hub, context(chrome) as apart:
        page = await apart.new_page()
        await page.clock.install()
        await page.goto(hub.http_url)
        await page.get_by_role("button", name="Sign in").click()
        status = page.get_by_role("status")
        await expect(status).to_have_text("live")
        await hub.signal(signal.SIGSTOP)  # its connections stay, as when a network is gone
        await page.clock.fast_forward("00:31")
        await expect(status).to_have_text("no hub answers")
        await hub.signal(signal.SIGCONT)
        await expect(status).to_have_text("live")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_that_does_not_do_is_told_and_kept_nowhere(
    tmp_path: Path, chrome: Browser, keys: Keys
) -> None:
    environ = {"TRISHULA_AUTH_LEEWAY_S": "0"}
    async with (
        HubProcess(tmp_path / "data", "--keys", str(keys.path), environ=environ) as hub,
        context(chrome) as apart,
    ):
        page = await apart.new_page()
        await page.goto(hub.http_url)
        for token, why in (
            ("no.such.token", "token"),
            (keys.token("dc", role="operator", lives_ms=1), "expired"),
            (keys.token("dc"), "operators and observers"),
        ):
            await page.get_by_label("Token of an operator").fill(token)
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.get_by_role("alert")).to_contain_text(why)
            assert await page.evaluate("Object.values(sessionStorage).join('')") == ""
            assert "token" not in page.url


@pytest.mark.asyncio(loop_scope="module")
async def test_a_token_that_is_revoked_leads_back_to_the_sign_in_and_says_why(
    tmp_path: Path, chrome: Browser, keys: Keys
) -> None:
    async with (
        HubProcess(tmp_path / "data", "--keys", str(keys.path)) as hub,
        context(chrome) as apart,
    ):
        page = await apart.new_page()
        await page.goto(hub.http_url)
        await sign_in(page, keys.token("mira", role="operator"))
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            answer = await http.post(
                f"{hub.http_url}/api/v1/tokens/revoke",
                json={"agent": "mira"},
                headers={"authorization": f"Bearer {keys.token('ada', role='operator')}"},
            )
            assert answer.status_code == 200, answer.text
        await expect(page.get_by_role("alert")).to_contain_text("revoked")
        await expect(page.get_by_label("Token of an operator")).to_be_focused()


@pytest.mark.asyncio(loop_scope="module")
async def test_on_a_phone_nothing_is_wider_than_the_screen(tmp_path: Path, chrome: Browser) -> None:
    async with (
        HubProcess(tmp_path / "data") as hub,
        Agent("agni", hub.url, capabilities=["count", "review"], groups=["ops"]),
        Agent("dc", hub.url) as dc,
        opened(chrome, hub, viewport={"width": 390, "height": 844}) as watched,
    ):
        page = watched.page
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("status")).to_have_text("live")
        await dc.send("agni", {"text": "a line that is longer than a phone is wide " * 8})
        for place in ("Agents", "Traffic", "Dead letters", "Nodes", "Audit", "Overview"):
            await go(page, place)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, place
            await look(page, f"phone-{place.lower().replace(' ', '-')}")


@pytest.mark.asyncio(loop_scope="module")
async def test_folder_mode_is_told_wherever_one_is_for_as_long_as_it_is_ordered(
    tmp_path: Path, chrome: Browser
) -> None:
    async with (
        HubProcess(tmp_path / "data") as hub,
        Agent("agni", hub.url, shared_folder=tmp_path / "folder"),
        Agent("vayu", hub.url),
        Agent("mira", hub.url) as mira,
        opened(chrome, hub) as watched,
    ):
        page = watched.page
        await page.get_by_role("button", name="Sign in").click()
        told = page.get_by_role("region", name="Folder mode")
        await expect(page.locator(".figure").filter(has_text="nodes alive")).to_contain_text("1")
        await expect(told).to_have_count(0)
        order = await mira.ask(FolderMode(True, "p99 over 200 ms <since noon>"))
        await expect(told).to_contain_text("all agents are ordered to their shared folder")
        await expect(told).to_contain_text("p99 over 200 ms <since noon>")
        await expect(told).to_contain_text("Still by hub: mira vayu. Who ordered it is in the")
        since = await told.locator("time").get_attribute("datetime")
        assert datetime.fromisoformat(since or "").timestamp() * 1000 == order["since"]
        await look(page, "folder-mode")
        await page.set_viewport_size({"width": 390, "height": 844})
        await go(page, "Agents")
        await expect(told).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await look(page, "phone-folder-mode")
        await told.get_by_role("link", name="audit").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Audit")
        await mira.ask(FolderMode(False))
        await expect(told).to_have_count(0)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_keyboard_is_enough(tmp_path: Path, chrome: Browser) -> None:
    async with (
        HubProcess(tmp_path / "data") as hub,
        Agent("agni", hub.url),
        opened(chrome, hub) as watched,
    ):
        page = watched.page
        await expect(page.get_by_label("Your name")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("live")
        await page.get_by_role("navigation").get_by_role("link", name="Agents").focus()
        await page.keyboard.press("Enter")
        link = page.get_by_role("link", name="agni", exact=True)
        await link.focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Pause").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).not_to_be_visible()
        await expect(page.get_by_role("button", name="Pause")).to_be_focused()


@pytest.mark.asyncio(loop_scope="module")
async def test_many_that_die_at_once_are_counted_together(
    tmp_path: Path, chrome: Browser, keys: Keys
) -> None:
    async with (
        HubProcess(tmp_path / "data", "--keys", str(keys.path)) as hub,
        opened(chrome, hub) as watched,
        Agent("vayu", hub.url, token=keys.token("vayu")) as vayu,
        Agent("dc", hub.url, token=keys.token("dc")) as dc,
    ):
        asked: list[str] = []
        watched.page.on(
            "request", lambda each: asked.append(each.url) if "/deadletters" in each.url else None
        )
        await sign_in(watched.page, keys.token("mira", role="operator"))
        for n in range(200):
            await dc.send("vayu", n)
            await (await anext(vayu.messages())).reject("no")
        place = watched.page.get_by_role("navigation").get_by_role("link", name="Dead letters")
        await expect(place).to_contain_text("200")
        assert len(asked) < 100
