"""The options of every command that needs a hub's configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.config import ConfigError, Loaded, load

F = TypeVar("F", bound=Callable[..., Any])


def names(ctx: click.Context, param: click.Parameter, text: str | None) -> list[str] | None:
    """The callback of an option that takes several names."""
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


def roles(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
    """What a shell completes a role to."""
    return [role for role in ("primary", "failover") if role.startswith(begun)]


def hub_options(command: F) -> F:
    """Add the options that say how a hub is to run."""
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="A TOML file, of the form that `broker config` prints.",
        ),
        click.option(
            "--folder-v1",
            "folder_v1",
            callback=names,
            metavar="AGENT[,AGENT...]",
            help="Agents that only know files of version 1; the folder is bridged for them.",
        ),
        click.option(
            "--folder-agents",
            "folder_agents",
            callback=names,
            metavar="AGENT[,AGENT...]",
            help="Agents that only know files; the folder is bridged to this hub for them.",
        ),
        click.option(
            "--shared-folder",
            "folder_path",
            metavar="DIR",
            help="A folder in which agents exchange files while no hub answers.",
        ),
        click.option(
            "--redis",
            "redis_url",
            metavar="URL",
            help="The Redis that several hubs share, such as redis://host:6379/0; without it "
            "this hub keeps a SQLite store of its own.",
        ),
        click.option(
            "--otlp",
            "tracing_otlp",
            metavar="URL",
            help="Send traces of messages there, as OTLP over HTTP, such as http://host:4318; "
            "needs trishula[otel]. See docs/tracing.md.",
        ),
        click.option(
            "--no-audit",
            "audit_enabled",
            flag_value=False,
            type=bool,
            default=None,
            help="Keep no archive of what happens.",
        ),
        click.option(
            "--audit",
            "audit_path",
            metavar="DIR",
            help="Where the archive of all that happens is written; audit in --data by default.",
        ),
        click.option(
            "--tls-key",
            metavar="FILE",
            help="The certificate's private key, in PEM, readable by its owner only.",
        ),
        click.option(
            "--tls-cert",
            metavar="FILE",
            help="A certificate with its chain, in PEM: the hub speaks TLS, wss:// and https://. "
            "Read again at SIGHUP.",
        ),
        click.option(
            "--keys",
            "auth_keys",
            metavar="FILE",
            help="The key file that tokens are checked with; keys.json in the data directory by "
            "default. Without one the hub is for this host alone. `broker keys init` makes it.",
        ),
        click.option(
            "--workers",
            type=int,
            metavar="N",
            help="So many processes on the one port, for machines with several cores; needs "
            "--redis. 1 by default.",
        ),
        click.option("--node", metavar="NAME", help="This hub's name; the host's by default."),
        click.option(
            "--data",
            metavar="DIR",
            help="The directory that holds everything it keeps; trishula in XDG_DATA_HOME, or in "
            "~/.local/share, by default.",
        ),
        click.option(
            "--port",
            type=int,
            metavar="PORT",
            help="The port; 8765 by default, 0 takes a free one.",
        ),
        click.option(
            "--host", metavar="ADDRESS", help="The address to listen on; 127.0.0.1 by default."
        ),
        click.option(
            "--role",
            metavar="ROLE",
            shell_complete=roles,
            help="primary (the default) or failover: see docs/nodes.md.",
        ),
    ):
        command = option(command)
    return command


def load_config(config: Path | None, **flags: Any) -> Loaded:
    """The configuration of this command line and environment; unusable ones end the command."""
    try:
        loaded = read_config(config, **flags)
    except ConfigError as error:
        raise Failure(ExitCode.USAGE, str(error)) from None
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return loaded


def read_config(config: Path | None, **flags: Any) -> Loaded:
    """The same, and nothing is said of it.

    Raises:
        ConfigError: a value cannot be used.
    """
    keys = {name: re.sub("^(audit|auth|folder|redis|tls|tracing)_", r"\1.", name) for name in flags}
    flags = {keys[name]: value for name, value in flags.items()}
    return load(flags, os.environ, config, Path.home())
