"""``broker token``: who may come in, and do what."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.durations import Lifetime
from trishula_broker.cli.exits import ExitCode, Failure
from trishula_broker.cli.groups import InOrder
from trishula_broker.cli.key_options import KEYS_EPILOG, key_options, wall_ms
from trishula_broker.cli.options import names
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.session import note
from trishula_broker.cli.table import show_table
from trishula_broker.cli.text import moment
from trishula_protocol.address import ID_PATTERN, agent_fault, tag_fault

if TYPE_CHECKING:
    from trishula_broker.auth.book import Book
    from trishula_broker.auth.ledger import Issued
    from trishula_broker.config import AuthConfig

COLUMNS: Final = (
    *("agent", "namespace", "role", "id", "made", "expires", "state"),
    *("send", "receive", "types"),
)
LIMITS: Final = ("send", "receive", "types")
FIELDS: Final = {"sub": "AGENT", "ns": "--namespace"}
"""What a token's claims are called on the command line."""


@click.group("token", cls=InOrder, epilog=KEYS_EPILOG)
def command() -> None:
    """Make, revoke and list tokens.

    A token says which agent its holder is and what it may do. It goes into TRISHULA_TOKEN, or
    into a file for --token-file. What was made and revoked is listed in tokens.jsonl beside the
    key file; the tokens themselves are kept nowhere.

    \b
    Examples:
      broker token create dc > dc.token
      broker token revoke --agent dc
      broker token list
    """


@command.command("create", epilog=KEYS_EPILOG)
@click.argument("agent")
@click.option(
    "--namespace",
    default="default",
    show_default=True,
    metavar="NAME",
    help="Where the agent lives; nothing crosses from one namespace to another.",
)
@click.option(
    "--role",
    type=click.Choice(["agent", "operator", "observer"]),
    default="agent",
    show_default=True,
    help="operator: may pause, tap, retry, forget too. observer: may look, and sends nothing.",
)
@click.option(
    "--send",
    callback=names,
    metavar="TO[,TO...]",
    help="Addresses it may send to: agni, #ops, @review, broadcast, or build-*; all by default.",
)
@click.option(
    "--receive",
    callback=names,
    metavar="TO[,TO...]",
    help="Groups and capabilities it may be reached by: #ops, @review; all by default.",
)
@click.option(
    "--types",
    callback=names,
    metavar="TYPE[,TYPE...]",
    help="Types it may send: COMMAND, STATUS, RESULT, ERROR; all by default.",
)
@click.option(
    "--expires",
    type=Lifetime(),
    default="30d",
    show_default=True,
    metavar="DURATION",
    help="30d, 12h, 45m or never.",
)
@key_options
def create(
    path: Path,
    auth: AuthConfig,
    agent: str,
    namespace: str,
    role: Any,
    send: Sequence[str] | None,
    receive: Sequence[str] | None,
    types: Sequence[str] | None,
    expires: int | None,
) -> None:
    """Make a token for AGENT and print it, alone, on standard output.

    An empty list allows nothing: --send '' is for an agent that only listens. What an agent was
    asked it may answer.

    \b
    Examples:
      broker token create dc > dc.token
      broker token create ci --send 'build-*,#ops' --types COMMAND --expires 12h
      broker token create ada --role operator --expires 8h
    """
    from trishula_broker.auth import key_file, tokens
    from trishula_broker.auth.book import Book
    from trishula_broker.auth.errors import KeysError
    from trishula_broker.auth.identity import Identity, Rights
    from trishula_broker.auth.ledger import Issued
    from trishula_broker.auth.permits import shown

    keys = key_file.load(path)
    if keys.signing is None:
        raise KeysError(
            str(path), "has public halves only; make tokens where the key is that signs"
        )
    ledger = key_file.ledger_of(path)
    # Not before a revocation of all that was made until then, whatever this clock says.
    now = max(wall_ms(), Book(ledger.read().entries).issued_from(namespace, agent))
    identity = Identity(
        subject=agent,
        namespace=namespace,
        role=role,
        token_id=secrets.token_hex(10),
        issued_at=now,
        expires_at=None if expires is None else now + expires,
        rights=Rights(_tuple(send), _tuple(receive), _tuple(types, str.upper)),
    )
    try:
        token = tokens.create(identity, keys.signing, auth.issuer, auth.audience)
    except ValueError as error:
        field, colon, rest = str(error).partition(": ")
        text = f"{FIELDS.get(field, f'--{field}')}{colon}{rest}"
        raise Failure(ExitCode.USAGE, text) from None
    ledger.add(Issued.of(identity, keys.signing.kid))
    Output(False).lines(token)
    until = moment(identity.expires_at) if identity.expires_at is not None else "for ever"
    note(
        f"token {identity.token_id} for {role} {agent} in {namespace}, valid until {until}; sends "
        f"to {'nobody' if role == 'observer' else shown(identity.rights.send)}"
    )
    note("it is shown this once; use it with TRISHULA_TOKEN or --token-file")


@command.command("revoke", epilog=KEYS_EPILOG)
@click.argument("jti", required=False)
@click.option("--agent", metavar="AGENT", help="All tokens made for it until now.")
@click.option(
    "--namespace",
    metavar="NAME",
    help="Where it counts; needed for what is not in the list of tokens, such as another issuer's.",
)
@key_options
def revoke(
    path: Path, auth: AuthConfig, jti: str | None, agent: str | None, namespace: str | None
) -> None:
    """Take back the token with the id JTI, or all of an agent's.

    A hub that uses this key file closes their sessions with 4401 within 5 s, on every node; it
    takes none of them again.

    \b
    Examples:
      broker token revoke 5f2c0e8a91d34b7c6a10
      broker token revoke --agent dc
    """
    if (jti is None) == (agent is None):
        raise click.UsageError("Give the JTI of one token, or --agent for all of an agent's.")
    _check(jti, agent, namespace)
    from trishula_broker.auth import key_file
    from trishula_broker.auth.book import Book

    key_file.load(path)  # or the list beside it would be one that no hub reads
    ledger = key_file.ledger_of(path)
    book = Book(ledger.read().entries)
    if jti is not None:
        revoked = book.revoke_token(jti, namespace, wall_ms())
        known = [each.jti for each in book.tokens]
    else:
        revoked = book.revoke_agent(agent or "", namespace, wall_ms())
        known = [each.sub for each in book.tokens]
    if not revoked:
        raise _not_listed(f"token {jti}" if jti else f"token of {agent}", jti or agent or "", known)
    out = Output(False)
    for entry in revoked:
        ledger.add(entry)
        what = f"token {entry.jti}" if entry.jti else f"all tokens of {entry.agent} until now"
        out.lines(f"revoked {what} in {entry.ns}")


@command.command("list", epilog=KEYS_EPILOG)
@click.option("--agent", metavar="AGENT", help="Only this agent's.")
@click.option("--all", "everything", is_flag=True, help="Also those that have expired.")
@as_json_option
@key_options
def list_(path: Path, auth: AuthConfig, agent: str | None, everything: bool, as_json: bool) -> None:
    """List the tokens: whose, what for, until when. The tokens themselves are kept nowhere.

    With --json a line each; times are milliseconds since 1970.
    """
    from trishula_broker.auth import key_file
    from trishula_broker.auth.book import Book

    key_file.load(path)
    read = key_file.ledger_of(path).read()
    book = Book(read.entries)
    now = wall_ms()
    found = [_shown(each, book, now) for each in book.tokens if agent in (None, each.sub)]
    found = [each for each in found if everything or each["state"] != "expired"]
    out = Output(as_json)
    if as_json:
        for each in found:
            out.document(each)
    elif found:
        show_table(out, COLUMNS, [_row(each) for each in found])
    else:
        out.lines("no tokens")
    if read.unreadable:
        note(f"note: {read.unreadable} lines of the list were cut short and count for nothing")


def _tuple(
    given: Sequence[str] | None, change: Callable[[str], str] = str
) -> tuple[str, ...] | None:
    return None if given is None else tuple(dict.fromkeys(map(change, given)))


def _check(jti: str | None, agent: str | None, namespace: str | None) -> None:
    import re

    if jti is not None and not re.match(ID_PATTERN, jti):
        raise click.UsageError("JTI: the id of a token, as `broker token list` shows it.")
    for name, fault in (
        ("--agent", agent and agent_fault(agent)),
        ("--namespace", namespace and tag_fault(namespace)),
    ):
        if fault:
            raise click.UsageError(f"{name}: {fault}.")


def _not_listed(what: str, name: str, known: list[str]) -> Failure:
    near = difflib.get_close_matches(name, list(dict.fromkeys(known)), 3)
    hint = f"did you mean {' or '.join(near)}" if near else "`broker token list` shows all"
    return Failure(
        ExitCode.REFUSED,
        f"there is no {what} in the list; {hint}; for one made elsewhere add --namespace",
    )


def _shown(token: Issued, book: Book, now: int) -> dict[str, Any]:
    rights = token.rights
    return {
        "agent": token.sub,
        "namespace": token.ns,
        "role": token.role,
        "id": token.jti,
        "made": token.iat,
        "expires": token.exp,
        "revoked": book.revoked_at(token),
        "state": book.state(token, now),
        "send": rights.send,
        "receive": rights.receive,
        "types": rights.types,
        "kid": token.kid,
    }


def _row(token: dict[str, Any]) -> list[str]:
    from trishula_broker.auth.permits import shown

    looks = token["role"] == "observer"  # and sends nothing, whatever its token says
    return [
        *(token[name] for name in ("agent", "namespace", "role", "id")),
        moment(token["made"]),
        "never" if token["expires"] is None else moment(token["expires"]),
        token["state"],
        *(shown(() if looks and name != "receive" else token[name]) for name in LIMITS),
    ]
