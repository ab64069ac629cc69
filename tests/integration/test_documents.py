"""The documentation is true: its shell blocks run, or say why not; its links lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.certificates import Authority
from tests.support.guide import ROOT, SHELLS, Block, Setting, blocks, follow, pages

COMMANDS: Final = ("broker ", "curl ", "rsync ", "pip ", "make ", "sudo ", "redis-", "openssl ")
"""What a block of shell begins with that has no language."""
LINK: Final = re.compile(r"(?<!`)\]\((?P<to>[^)#:\s]*)(?:#(?P<anchor>[^)]*))?\)(?!`)")
PATH: Final = re.compile(r"tests/[\w/]+(?:\.py)?")


def a_hub_with_certificate(folder: Path) -> None:
    signed = Authority(folder, "a private authority").sign()
    signed.cert.rename(folder / "hub.pem")
    assert signed.key == folder / "hub.key"


def a_v1_folder(folder: Path) -> None:
    for name in ("inbox", "outbox", "agents"):
        (folder / "trishula" / name).mkdir(parents=True)
        (folder / "other" / "trishula" / name).mkdir(parents=True)


DEFAULT_DATA: Final = "{folder}/.local/share/trishula"
SETTINGS: Final = {
    "docs/access.md": Setting(
        before="broker keys init",
        swaps={"0.0.0.0": "127.0.0.1"},
        prepare=a_hub_with_certificate,
    ),
    "docs/audit.md": Setting(
        before="broker serve\n"
        "broker listen --as agni --timeout 0.1 || [ $? = 4 ]\n"
        "broker send agni 1 --as dc --id 0195a1f0-7b7e-7c3a-9f0e-3d2c1b0a9f8e\n"
        "broker drain --port 8765",
        swaps={"/var/lib/trishula": DEFAULT_DATA},
    ),
    "docs/backup.md": Setting(
        before="broker serve\nmkdir backup",
        swaps={
            "/backup/": "{folder}/backup/",
            "/var/lib/trishula": DEFAULT_DATA,
            "/var/lib/new": "{folder}/new",
        },
    ),
    "docs/folder.md": Setting(
        before="broker serve",
        swaps={"other:": "other/"},
        prepare=a_v1_folder,
    ),
    "docs/http-api.md": Setting(
        before="broker keys init\nbroker token create agni >agni.token\n"
        "export TRISHULA_TOKEN=$(broker token create dc)\nbroker serve",
    ),
    "docs/metrics.md": Setting(before="broker keys init"),
    "docs/operations.md": Setting(
        swaps={
            "CHECKOUT=~/trishula": f"CHECKOUT={ROOT}",
            # What else it finds is this machine's.
            "--nginx nginx/nginx.conf": "--nginx nginx/nginx.conf || true",
        },
        ports=("8766", "6380", "8443"),
        told=False,
    ),
    "docs/quick-start.md": Setting(),
    "docs/reports.md": Setting(before="broker serve"),
    "docs/tokens.md": Setting(
        before="broker keys init\nbroker token create dc >dc.token",
        swaps={
            "revoke 5f2c0e8a91d34b7c6a10": 'revoke $(sed -n \'s/.*"jti": *"\\([^"]*\\)".*/\\1/p\' '
            + DEFAULT_DATA
            + "/tokens.jsonl)",
        },
    ),
}
"""The pages whose blocks are run by this module, and what each takes for granted."""
OF_THEIR_OWN: Final = {"README.md"}
"""Pages whose blocks are run by a module of their own: tests/integration/test_readme.py."""


def shell_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks(page) if block.language in SHELLS]


@pytest.mark.parametrize("page", sorted(SETTINGS))
async def test_what_a_page_tells_to_type_can_be_typed(page: str, tmp_path: Path) -> None:
    said = await follow(ROOT / page, tmp_path, SETTINGS[page])
    assert said


@pytest.mark.parametrize("block", shell_blocks(), ids=str)
def test_a_shell_block_is_run_or_says_why_not(block: Block) -> None:
    name = str(block.page.relative_to(ROOT))
    if block.not_run is None:
        assert name in SETTINGS or name in OF_THEIR_OWN, (
            f"{block}: give its page a Setting here, or say above it <!-- not run: why -->"
        )
    else:
        assert all((ROOT / path).exists() for path in PATH.findall(block.not_run)), block.not_run


def test_a_block_of_python_is_python() -> None:
    for page in pages():
        for block in blocks(page, "python"):
            if block.not_run is None:
                compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_a_block_with_commands_says_that_it_is_one() -> None:
    for page in pages():
        for block in blocks(page):
            if block.language in ("", "text"):
                assert not block.text.startswith(COMMANDS), f"{block}: it is sh"
            assert block.language, f"{block}: say its language; text for none"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in LINK.finditer(text):
        target = (page.parent / link["to"]).resolve() if link["to"] else page
        assert target.exists(), f"{page.name}: {link['to']}"
        if link["anchor"] and target.suffix == ".md":
            assert link["anchor"] in anchors(target), f"{page.name}: {link['to']}#{link['anchor']}"


def anchors(page: Path) -> set[str]:
    """Those of its headings, as GitHub and MkDocs make them alike."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles)
    return {re.sub(r"[\s]+", "-", title) for title in plain}
