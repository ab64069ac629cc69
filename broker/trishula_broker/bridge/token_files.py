"""The tokens of the agents that are bridged: a file each, read again whenever one is needed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trishula_broker.auth.errors import TokenRefused, Unsafe
from trishula_broker.auth.private_files import read_private
from trishula_broker.auth.unproven import peek


class TokenFileError(Exception):
    """A file that has no token to go by; the text names it and says what to do."""


class TokenFiles:
    """``<agent>.token`` in a folder, one for each agent.

    A new file is taken at the next connection, and before the old token expires. Where it cannot
    be read any more, the last one goes on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<TokenFiles {self._folder}>"

    def __call__(self, agent: str) -> str:
        """The agent's token.

        Raises:
            TokenFileError: there is none, and there was none before.
        """
        try:
            self._last[agent] = self._read(agent)
        except TokenFileError:
            if agent not in self._last:
                raise
        return self._last[agent]

    def check(self, agents: Iterable[str]) -> None:
        """See that each of them has one.

        Raises:
            TokenFileError: one has not.
        """
        for agent in agents:
            self(agent)

    def _read(self, agent: str) -> str:
        path = self._folder / f"{agent}.token"
        try:
            token = read_private(path).decode("latin-1").strip()
            said = peek(token)
        except FileNotFoundError:
            raise TokenFileError(
                f"{path}: there is no such file; `broker token create {agent}` prints what belongs "
                "into it"
            ) from None
        except OSError as error:
            raise TokenFileError(f"{path}: {error.strerror}") from None
        except Unsafe as error:
            raise TokenFileError(str(error)) from None
        except TokenRefused as error:
            raise TokenFileError(f"{path}: {error.text}") from None
        if said.sub != agent:
            raise TokenFileError(f"{path}: this token is for {said.sub!r}; it must be for {agent}")
        return token
