"""``broker config``: what is in force, and where each value comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import click

from trishula_broker.cli.exits import CONFIG_EPILOG
from trishula_broker.cli.options import hub_options, load_config
from trishula_broker.config import Value

HIDDEN: Final = "(set, not shown)"


@click.command("config", epilog=CONFIG_EPILOG)
@hub_options
@click.option("--json", "as_json", is_flag=True, help="JSON instead of TOML.")
def command(as_json: bool, **options: Any) -> None:
    """Show the configuration in force and where each value comes from.

    \b
    Examples:
      broker config
      broker config > broker.toml && broker serve --config broker.toml
    """
    values = load_config(**options).values
    if as_json:
        body = {
            path: {"value": HIDDEN if is_secret(path, v.value) else v.value, "origin": v.origin}
            for path, v in values.items()
        }
        click.echo(json.dumps(body, indent=2))
    else:
        click.echo(to_toml(values), nl=False)


def is_secret(path: str, value: Any) -> bool:
    """Whether a value must not be shown."""
    if path == "redis.url":
        return "@" in str(value)  # a password may stand before it
    return (path.endswith("password") or path == "audit.key") and bool(value)


def to_toml(values: Mapping[str, Value]) -> str:
    """The values as a TOML file, each with its origin as a comment."""
    lines: list[str] = []
    section = ""
    # Keys without a section come first: in TOML nothing can follow a section but another.
    for path, (value, origin) in sorted(values.items(), key=lambda item: "." in item[0]):
        table, _, key = path.rpartition(".")
        if table != section:
            section = table
            lines += ["", f"[{section}]"]
        if is_secret(path, value):
            lines.append(f"# {key}: set, and not shown (by {origin})")
            continue
        # JSON's strings, numbers, booleans and arrays of strings are TOML's too.
        text = json.dumps(value, ensure_ascii=False)
        lines.append(f"{f'{key} = {text}':<40} # {origin}")
    return "\n".join(lines) + "\n"
