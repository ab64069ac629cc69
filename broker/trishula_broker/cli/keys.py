"""``broker keys``: what tokens are signed and checked with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.cli.groups import InOrder
from trishula_broker.cli.key_options import KEYS_EPILOG, key_options, wall_ms
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.session import note
from trishula_broker.cli.table import show_table
from trishula_broker.cli.text import moment

if TYPE_CHECKING:
    from trishula_broker.auth.keys import Key
    from trishula_broker.config import AuthConfig

COLUMNS: Final = ("kid", "alg", "made", "use", "issuer")
ALGORITHMS: Final = ("HS256", "EdDSA")


@click.group("keys", cls=InOrder, epilog=KEYS_EPILOG)
def command() -> None:
    """Make, rotate and list the keys that tokens are signed with.

    A hub that has a key file lets only those in who have a token. The file is the same on every
    hub of a namespace; a hub that runs takes a new one within a second. Keep it as you would a
    password: whoever reads it can make any token.

    \b
    Examples:
      broker keys init
      broker keys rotate
    """


def _alg(help: str, default: str | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--alg",
        type=click.Choice(ALGORITHMS, case_sensitive=False),
        default=default,
        show_default=default is not None,
        help=help,
    )


@command.command("init", epilog=KEYS_EPILOG)
@_alg("HS256: one secret signs and checks. EdDSA: the public half checks.", "HS256")
@key_options
def init(path: Path, auth: AuthConfig, alg: str) -> None:
    """Make the key file, with one key. One that is there is left alone.

    \b
    Examples:
      broker keys init
      broker keys init --alg EdDSA --keys /etc/trishula/keys.json
    """
    from trishula_broker.auth import key_file

    key = key_file.init(path, alg, wall_ms())
    Output(False).lines(f"made {path} with key {key.kid} ({key.alg})")
    note("next: start the hub, or start it again; `broker token create AGENT` makes a token")


@command.command("rotate", short_help="Put a new key in front, to sign.", epilog=KEYS_EPILOG)
@_alg("Of the new key; that of the one before by default.", None)
@key_options
def rotate(path: Path, auth: AuthConfig, alg: str | None) -> None:
    """Put a new key in front: it signs from now on, and the one before it goes on checking.

    Tokens stay valid. `broker keys prune` drops the old key once they have expired or were
    revoked; so does the next rotation.
    """
    from trishula_broker.auth import key_file

    new, dropped = key_file.rotate(path, alg, wall_ms())
    Output(False).lines(
        f"key {new.kid} ({new.alg}) signs from now on",
        *(f"dropped {key.kid} ({key.alg}), which no token needs" for key in dropped),
    )
    note("copy the file to every other hub before you make tokens: they take the new key at once")


@command.command("prune", short_help="Drop old keys that no token needs.", epilog=KEYS_EPILOG)
@click.option(
    "--force", is_flag=True, help="Also keys that tokens need: those are refused from then on."
)
@key_options
def prune(path: Path, auth: AuthConfig, force: bool) -> None:
    """Drop the keys that do not sign any more, and that no token needs.

    After somebody may have read a key: `broker keys rotate`, `broker keys prune --force`, and new
    tokens for everybody.
    """
    from trishula_broker.auth import key_file

    dropped, kept = key_file.prune(path, wall_ms(), force=force)
    out = Output(False)
    out.lines(*(f"dropped {key.kid} ({key.alg})" for key in dropped))
    out.lines(*(f"kept {key.kid} ({key.alg}): {why}" for key, why in kept))
    if not dropped and not kept:
        out.lines("there is no key but the one that signs")


@command.command("list", epilog=KEYS_EPILOG)
@as_json_option
@key_options
def list_(path: Path, auth: AuthConfig, as_json: bool) -> None:
    """List the keys, never their secrets. The first one signs, all of them check."""
    from trishula_broker.auth import key_file

    keys = key_file.load(path)
    found = [_shown(key, "signs" if key is keys.signing else "checks", auth.issuer) for key in keys]
    if auth.trusted:
        trusted = key_file.load_trusted(Path(auth.trusted).expanduser())
        found += [_shown(key, "checks", auth.trusted_issuer) for key in trusted]
    out = Output(as_json)
    if as_json:
        out.document(found)
    else:
        show_table(
            out,
            COLUMNS,
            [[e["kid"], e["alg"], moment(e["made"]), e["use"], e["issuer"]] for e in found],
        )


@command.command("public", short_help="Print the public halves.", epilog=KEYS_EPILOG)
@key_options
def public(path: Path, auth: AuthConfig) -> None:
    """Print the public halves as a key file, for hubs that check tokens and make none.

    \b
    Example, with a file that the other hub takes, 0600:
      (umask 077; broker keys public > public.json)
      scp -p public.json hub-2:/etc/trishula/keys.json
    """
    from trishula_broker.auth import key_file

    keys = key_file.load(path)
    found = [half for key in keys if (half := key.public()) is not None]
    secret = [key.kid for key in keys if key.public() is None]
    if not found:
        raise Failure(
            ExitCode.REFUSED,
            f"{path}: a key of HS256 has no public half; `broker keys rotate --alg EdDSA` makes a "
            "key that has one",
        )
    Output(True).document({"keys": found})
    if secret:
        note(f"note: left out, for a key of HS256 has no public half: {', '.join(secret)}")


def _shown(key: Key, use: str, issuer: str) -> dict[str, Any]:
    return {"kid": key.kid, "alg": key.alg, "made": key.made, "use": use, "issuer": issuer}
