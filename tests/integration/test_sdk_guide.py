"""docs/sdk.md is true: its blocks run one after another, and its tables have every error."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import types
from pathlib import Path
from typing import Any, Final

import trishula
from tests.support.guide import ROOT, blocks
from tests.support.hub_process import HubProcess
from trishula import Agent, Message, Refused, RemoteError
from trishula_protocol.errors import ErrorCode

PAGE: Final = ROOT / "docs" / "sdk.md"
LONGEST_S: Final = 60.0


async def run(text: str, where: str, names: dict[str, Any]) -> str:
    """Run a block with ``await`` at its outermost level, as inside of a coroutine; its output."""
    code = compile(text, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        async with asyncio.timeout(LONGEST_S):
            # In a thread, as the SDK without asyncio is not for where a loop runs.
            function = types.FunctionType(code, names)
            made = await asyncio.to_thread(function) if "trishula.sync" in text else function()
            if inspect.iscoroutine(made):
                await made
    return out.getvalue()


async def test_its_blocks_run_one_after_another(tmp_path: Path, monkeypatch: Any) -> None:
    async with HubProcess(tmp_path / "data") as hub:
        monkeypatch.setenv("TRISHULA_URL", hub.url)
        monkeypatch.chdir(tmp_path)
        names: dict[str, Any] = {"asyncio": asyncio, "Agent": Agent, "Message": Message}
        names |= {"Refused": Refused, "RemoteError": RemoteError}
        ran = 0
        async with (
            Agent("dc") as names["dc"],
            Agent("agni", capabilities=["build"], groups=["ops"]) as names["agni"],
        ):
            for block in blocks(PAGE, "python"):
                if block.not_run is not None:
                    continue
                said = await run(block.text, str(block), names)
                for text in block.prints:
                    assert text in said, f"{block}: {text!r} is not in\n{said}"
                ran += 1
        assert ran > 15


def rows(head: str) -> set[str]:
    """What is in code in the first column of the table that begins so."""
    text = PAGE.read_text()
    table = text[text.index(head) :].split("\n\n")[0]
    return {
        name
        for row in table.splitlines()[2:]
        for name in re.findall(r"`(\w+)`", row.split(" | ")[0])
    }


def test_it_has_every_exception_of_the_sdk() -> None:
    raised = {
        name
        for name in trishula.__all__
        if isinstance(getattr(trishula, name), type)
        and issubclass(getattr(trishula, name), Exception)
    }
    assert rows("| exception | when |") == raised | {"TimeoutError", "ValueError", "TypeError"}


def test_it_has_every_code() -> None:
    assert rows("| code | means |") == {str(code) for code in ErrorCode}
