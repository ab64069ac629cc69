"""`make docs` makes of docs/ a site that can be read without a network; every page is in it."""

from __future__ import annotations

import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.browser import Watched, browser, context
from tests.support.guide import ROOT, pages

MKDOCS: Final = ROOT / ".venv" / "docs" / "bin" / "mkdocs"
CONFIG: Final = (ROOT / "mkdocs.yml").read_text()
LOCK: Final = (ROOT / "requirements" / "docs.txt").read_text()


class Page(HTMLParser):
    """What a built page fetches, where it leads, and the places in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if name := given.get("id"):
            self.ids.add(name)
        to = given.get("href") or given.get("src")
        if to is not None:
            (self.links if tag == "a" else self.fetched).append(to)


def test_every_page_is_in_the_navigation_or_is_said_not_to_be() -> None:
    nav = CONFIG.split("\nnav:\n")[1]
    listed = re.findall(r"([\w/-]+\.md)$", nav, re.MULTILINE)
    assert len(listed) == len(set(listed))
    there = {str(page.relative_to(ROOT / "docs")) for page in pages()[1:]}
    decisions = {name for name in there if re.match(r"decisions/0", name)}
    missing = there - decisions - set(listed)
    assert not missing, f"put them under nav: in mkdocs.yml: {sorted(missing)}"
    assert set(listed) - there == {"readme.md", "changelog.md"}


def test_what_builds_it_is_locked_with_hashes_and_without_addresses() -> None:
    pins = re.findall(r"^[\w.-]+==\S+", LOCK, re.MULTILINE)
    assert len(pins) > 10
    assert LOCK.count("--hash=sha256:") >= len(pins)
    assert "://" not in LOCK


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, built."""
    if not MKDOCS.exists():
        pytest.skip("MkDocs is not there: `make docs` installs it")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [str(MKDOCS), "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
    assert built.returncode == 0, built.stdout
    assert "WARNING" not in built.stdout
    return folder


def test_it_needs_nothing_from_elsewhere_and_its_links_lead_somewhere(site: Path) -> None:
    built = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    assert len(built) > len(pages())
    for path, page in built.items():
        assert "```" not in path.read_text(), path.name
        for source in page.fetched:
            assert not re.match(r"(\w+:)?//", source), f"{path.name} fetches {source}"
            assert (path.parent / unquote(urlsplit(source).path)).exists(), source
        for link in page.links:
            assert not link.startswith("/"), f"{path.name}: {link}"
            leads_somewhere(path, link, built)


async def test_it_is_searched_as_files(site: Path) -> None:
    async with browser() as chromium, context(chromium) as apart:
        page = await apart.new_page()
        watched = Watched(page)
        await page.goto((site / "index.html").as_uri())
        # Typed, for the page looks at what is there whenever a key is let go.
        await page.locator("input.md-search__input").press_sequentially("TrishulaNobodyLeads")
        found = page.locator(".md-search-result__link[href*='#trishulanobodyleads']")
        await found.first.wait_for(state="attached")
        assert watched.complaints == []


def leads_somewhere(path: Path, link: str, built: dict[Path, Page]) -> None:
    to = urlsplit(link)
    if to.scheme or to.netloc:
        return
    target = (path.parent / unquote(to.path)).resolve() if to.path else path
    assert target.exists(), f"{path.name}: {link}"
    if to.fragment and target in built and not to.fragment.startswith("__"):
        assert unquote(to.fragment) in built[target].ids, f"{path.name}: {link}"
