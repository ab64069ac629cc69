"""One of the two processes of ``broker bench``; started by it, and by nobody else."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Final

from trishula_broker.benchmark.receiving import receive
from trishula_broker.benchmark.sending import send
from trishula_broker.benchmark.talk import Failed, Note, Post
from trishula_broker.cli.exits import failure
from trishula_broker.process import raise_descriptors

NOTES: Final = 5
"""Of the SDK's warnings that are passed on; a hundred agents may all say the same."""
FEW: Final = 200
"""Agents for which any system's limit of descriptors is enough."""


class Notes(logging.Handler):
    """The SDK's warnings, for people."""

    def __init__(self, post: Post) -> None:
        super().__init__(logging.WARNING)
        self._post = post
        self._left = NOTES

    def emit(self, record: logging.LogRecord) -> None:
        if self._left:
            self._left -= 1
            self._post.say(Note(record.getMessage()))


async def main(part: str) -> None:
    """Do this process's part."""
    post = await Post.open()
    logging.getLogger("trishula").addHandler(Notes(post))
    plan = await post.plan()
    if len(plan.members) > FEW:
        raise_descriptors()
    try:
        await (send if part == "send" else receive)(plan, post)
    except Exception as error:
        ended = failure(error)
        post.say(Failed(int(ended.exit_code), ended.message))


if __name__ == "__main__":
    try:
        import uvloop
    except ModuleNotFoundError:  # there is none for this system
        asyncio.run(main(sys.argv[1]))
    else:
        uvloop.run(main(sys.argv[1]))
