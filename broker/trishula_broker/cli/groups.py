"""Groups of commands, such as ``broker audit``, as their help shows them."""

from __future__ import annotations

import click


class Group(click.Group):
    """Takes its commands' options before a command's name, too: `deadletters --url URL list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse ``args``, with what stands before the command's name behind it."""
        return super().parse_args(ctx, args if ctx.resilient_parsing else self._behind(ctx, args))

    def _behind(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes_value = {
            name: not param.is_flag
            for command in self.commands.values()
            for param in command.params
            if isinstance(param, click.Option)
            for name in (*param.opts, *param.secondary_opts)
        }
        before: list[str] = []
        rest = args
        while rest:
            word = rest[0]
            if not word.startswith("-"):
                return [word, *before, *rest[1:]]
            name, given, _ = word.partition("=")
            if name not in takes_value:
                return rest  # the group's own, such as --help, or nobody's
            count = 2 if takes_value[name] and not given else 1
            before += rest[:count]
            rest = rest[count:]
        if before:
            ctx.fail("Missing command.")
        return args


class InOrder(Group):
    """Shows its commands in the order in which they were added: the first is needed first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(self.commands)
