"""Where values come from: a TOML file, ``TRISHULA_*`` variables, flags. Each is checked by itself,
and what is wrong is told by its key's path, the rule and the origin.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import msgspec

from trishula_broker.config.values import ConfigError, Value
from trishula_protocol.address import AGENT_PATTERN, tag_fault

PREFIX: Final = "TRISHULA_"
SDK_VARIABLES: Final = frozenset(
    {"TRISHULA_AGENT", "TRISHULA_CA_FILE", "TRISHULA_TOKEN", "TRISHULA_URL"}
)
"""Variables of the SDK, which a shell that starts a hub may well have set."""

FLAGS: Final = {
    "folder.path": "--shared-folder",
    "redis.url": "--redis",
    "auth.keys": "--keys",
    "audit.path": "--audit",
    "audit.enabled": "--no-audit",
    "tracing.otlp": "--otlp",
}
"""Flags that are not called as their key."""

KINDS: Final = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "text",
    "`bool`": "true or false",
    "`array`": "a list",
}
"""What values are called in errors."""
NAME_RULE: Final = str(tag_fault(""))

Leaf = tuple[Any, Any]
Types = dict[str, Leaf]


def leaves(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Every key's path with its type and default."""
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from leaves(hint, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", (hint, field.default)


def checked(path: str, given: Value, types: Types) -> Value:
    hint, _ = types[path]
    try:
        # Variables are text: "8765" is a port there and a mistake in a file.
        value = msgspec.convert(given.value, hint, strict=not given.origin.startswith(PREFIX))
    except msgspec.ValidationError as error:
        raise ConfigError(path, _rule(error, hint, given.value), given.origin) from None
    return Value(value, given.origin)


def _rule(error: msgspec.ValidationError, hint: Any, value: Any) -> str:
    """What is wrong with a value, without the words of Python."""
    rule = str(error).partition(" - at `")[0]
    if rule.startswith("Invalid enum value"):
        return f"must be {' or '.join(map(str, get_args(hint)))}, not {value!r}"
    if "matching regex" in rule:
        return NAME_RULE if repr(AGENT_PATTERN)[1:-1] in rule else "must be an IP address"
    for kind, words in KINDS.items():
        rule = rule.replace(f"Expected {kind}", f"must be {words}").replace(
            f"got {kind}", f"not {words}"
        )
    return rule


def from_file(file: Path | None, types: Types) -> dict[str, Value]:
    if file is None:
        return {}
    origin = str(file)
    try:
        tree = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError("--config", error.strerror or "cannot be read", origin) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--config", f"not TOML: {error}", origin) from None
    found: dict[str, Value] = {}
    sections = {path.partition(".")[0] for path in types if "." in path}
    for key, value in tree.items():
        if key in sections:
            if not isinstance(value, dict):
                raise ConfigError(key, "must be a table", origin)
            found |= {f"{key}.{name}": Value(item, origin) for name, item in value.items()}
        else:
            found[key] = Value(value, origin)
    for path in found:
        if path not in types:
            raise ConfigError(path, _unknown(path, types), origin)
    return found


def from_environ(
    environ: Mapping[str, str], types: Types
) -> tuple[dict[str, Value], tuple[str, ...]]:
    known = {PREFIX + path.replace(".", "_").upper(): path for path in types}
    found: dict[str, Value] = {}
    warnings: list[str] = []
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in SDK_VARIABLES:
            continue
        path = known.get(name)
        if path is None:  # other programs of the project may have theirs
            warnings.append(f"{name}: {_unknown(name, known)} (environment)")
        elif isinstance(types[path][1], tuple):
            found[path] = Value([part.strip() for part in text.split(",") if part.strip()], name)
        else:
            found[path] = Value(text, name)
    return found, tuple(warnings)


def from_flags(flags: Mapping[str, Any]) -> dict[str, Value]:
    return {
        path: Value(value, FLAGS.get(path) or "--" + path.replace(".", "-").replace("_", "-"))
        for path, value in flags.items()
        if value is not None
    }


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return "no such key" + (f"; did you mean {near[0]}?" if near else "")
