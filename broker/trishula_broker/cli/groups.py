"""Groups of commands, such as ``broker audit``, as their help shows them."""

from __future__ import annotations

import click


class InOrder(click.Group):
    """Shows its commands in the order in which they were added: the first is needed first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(self.commands)
