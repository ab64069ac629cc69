"""``broker keys`` and ``broker token``: what they print, keep and refuse. No hub is needed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.command import Done
from trishula_broker.auth import key_file
from trishula_broker.auth.authenticator import Authenticator
from trishula_broker.auth.identity import Rights
from trishula_broker.auth.ledger import Issued
from trishula_broker.auth.revocations import Revocations
from trishula_broker.cli import main

Run = Callable[..., Done]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs ``broker`` for this data directory, in this process."""

    def run(*args: str, **environ: str) -> Done:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            for name, value in {"TRISHULA_DATA": str(data), "COLUMNS": "200", **environ}.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(args, "broker")
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run


def checker(data: Path, **options: str) -> Authenticator:
    keys = key_file.load(data / "keys.json")
    return Authenticator(keys, Revocations(), lambda: time.time_ns() // 1_000_000, **options)  # type: ignore[arg-type]


def secrets_of(path: Path) -> list[str]:
    keys = json.loads(path.read_text())["keys"]
    return [each[name] for each in keys for name in ("k", "d") if name in each]


def test_a_key_and_a_token_from_nothing(run: Run, data: Path) -> None:
    made = run("keys", "init")
    assert made.code == 0, made
    assert made.out.startswith(f"made {data / 'keys.json'} with key ")
    assert "`broker token create AGENT`" in made.err
    token = run("token", "create", "dc")
    assert token.code == 0, token
    line, end = token.out[:-1], token.out[-1]
    assert (line.count("."), end) == (2, "\n")
    assert line not in token.err
    found = checker(data).identify(line)
    assert (found.subject, found.namespace, found.role) == ("dc", "default", "agent")
    assert found.rights == Rights()
    assert found.expires_at == found.issued_at + 30 * 86_400_000
    assert f"token {found.token_id} for agent dc in default" in token.err
    assert line not in (data / "tokens.jsonl").read_text()


def test_rights_are_in_the_token(run: Run, data: Path) -> None:
    run("keys", "init", "--alg", "eddsa")
    token = run(
        *("token", "create", "ci", "--namespace", "other", "--role", "operator"),
        *("--send", "agni, #ops,@review,agni", "--receive", "", "--types", "command,status"),
        *("--expires", "never"),
    )
    found = checker(data).identify(token.out.strip())
    assert (found.subject, found.namespace, found.role) == ("ci", "other", "operator")
    assert found.rights == Rights(("agni", "#ops", "@review"), (), ("COMMAND", "STATUS"))
    assert found.expires_at is None


def test_issuer_and_audience_are_the_hubs(run: Run, data: Path) -> None:
    run("keys", "init")
    environ = {"TRISHULA_AUTH_ISSUER": "us", "TRISHULA_AUTH_AUDIENCE": "hub-1"}
    token = run("token", "create", "dc", **environ)
    found = checker(data, issuer="us", audience="hub-1").identify(token.out.strip())
    assert found.subject == "dc"


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["token", "create", "No One"], 2, "AGENT: must be 1-64 characters"),
        (["token", "create", "hub"], 2, "AGENT: 'hub' is taken"),
        (["token", "create", "dc", "--namespace", "A"], 2, "--namespace: must be 1-64"),
        (["token", "create", "dc", "--send", "a b"], 2, "--send: agent 'a b' must be"),
        (["token", "create", "dc", "--receive", "dc"], 2, "--receive: must be of #groups"),
        (["token", "create", "dc", "--types", "PING"], 2, "--types: must be of COMMAND"),
        (["token", "create", "dc", "--role", "root"], 2, "'root' is not one of"),
        (["token", "create", "dc", "--expires", "soon"], 2, "'soon': write 30d, 12h"),
        (["token", "create", "dc", "--expires", "0d"], 2, "'0d': from 1s to 36500d"),
        (["token", "create", "dc", "--expires", "99999d"], 2, "'99999d': from 1s to"),
        (["token", "revoke"], 2, "Give the JTI of one token, or --agent"),
        (["token", "revoke", "x", "--agent", "dc"], 2, "Give the JTI of one token"),
        (["token", "revoke", "a b"], 2, "JTI: the id of a token"),
        (["token", "revoke", "--agent", "A"], 2, "--agent: must be 1-64"),
        (["token", "revoke", "nosuch"], 1, "no token nosuch in the list; `broker token list`"),
        (
            ["token", "revoke", "--agent", "dcc"],
            1,
            "of dcc in the list; did you mean dc; for",
        ),
        (["keys", "init"], 1, "keys.json: is there already"),
        (["keys", "public"], 1, "a key of HS256 has no public half; `broker keys rotate --alg"),
        (["keys", "init", "--alg", "RS256"], 2, "'RS256' is not one of"),
        (["keys", "list", "--config", "/nowhere"], 2, "--config: No such file"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    run: Run, data: Path, args: list[str], code: int, says: str
) -> None:
    key_file.init(data / "keys.json", "HS256", 0)
    ledger = key_file.ledger_of(data / "keys.json")
    ledger.add(Issued("t1", "dc", "default", "agent", 0, None, "k1"))
    before = [each.read_bytes() for each in sorted(data.iterdir())]
    done = run(*args)
    assert (done.code, done.out) == (code, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("Error: ")
    assert says in last
    assert "Traceback" not in done.err
    assert [each.read_bytes() for each in sorted(data.iterdir())] == before


@pytest.mark.parametrize(
    "args",
    [
        ["keys", "list"],
        ["keys", "rotate"],
        ["keys", "prune"],
        ["token", "create", "dc"],
        ["token", "list"],
        ["token", "revoke", "--agent", "dc"],
    ],
)
def test_without_keys_the_command_that_makes_them_is_told(run: Run, args: list[str]) -> None:
    done = run(*args)
    assert (done.code, done.out) == (1, "")
    assert re.search(
        "there is no such file; name the hub's with --keys or --config, or "
        "`broker keys init --keys .*keys.json` makes one",
        done.err,
    )


def test_a_key_file_that_others_can_read_is_refused_with_what_to_type(run: Run, data: Path) -> None:
    run("keys", "init")
    path = data / "keys.json"
    path.chmod(0o644)
    done = run("token", "create", "dc")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"Error: {path}: others may read it (mode 0644); chmod 600 {path}\n"
    path.chmod(0o600)
    data.chmod(0o770)
    done = run("token", "create", "dc", "--keys", str(path))
    assert f"others may write this folder (mode 0770); chmod go-w {data}\n" in done.err


def test_a_token_that_cannot_be_listed_is_not_made(run: Run, data: Path) -> None:
    run("keys", "init")
    run("token", "create", "dc")
    (data / "tokens.jsonl").chmod(0o640)
    done = run("token", "create", "dc")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith(f"chmod 600 {data / 'tokens.jsonl'}\n")


def test_keys_rotate_and_their_secrets_are_never_shown(run: Run, data: Path) -> None:
    run("keys", "init")
    path = data / "keys.json"
    secrets = secrets_of(path)
    by_old = (run("token", "create", "dc")).out.strip()
    rotated = run("keys", "rotate", "--alg", "EdDSA")
    assert rotated.code == 0
    assert "copy the file to every other hub" in rotated.err
    by_new = (run("token", "create", "dc")).out.strip()
    assert checker(data).identify(by_old).subject == checker(data).identify(by_new).subject
    third = run("keys", "rotate")
    assert (third.code, third.out) == (1, "")
    assert "it checks 1 token, the last of which expires at" in third.err
    kept = run("keys", "prune")
    assert kept.code == 0
    assert kept.out.startswith("kept ")
    listed = run("keys", "list")
    as_json = run("keys", "list", "--json")
    assert [(e["alg"], e["use"], e["issuer"]) for e in as_json.json] == [
        ("EdDSA", "signs", "trishula"),
        ("HS256", "checks", "trishula"),
    ]
    assert [line.split()[1] for line in listed.out.splitlines()] == ["ALG", "EdDSA", "HS256"]
    public = run("keys", "public")
    assert [each["kid"] for each in public.json["keys"]] == [as_json.json[0]["kid"]]
    assert as_json.json[1]["kid"] in public.err
    dropped = run("keys", "prune", "--force")
    assert dropped.out.startswith(f"dropped {as_json.json[1]['kid']} (HS256)")
    assert (run("keys", "prune")).out == "there is no key but the one that signs\n"
    secrets += secrets_of(path)
    assert len(set(secrets)) == 2
    for done in (rotated, third, kept, listed, as_json, public, dropped):
        assert not [each for each in secrets if each in done.out + done.err]


def test_another_issuers_keys_are_listed(run: Run, data: Path, tmp_path: Path) -> None:
    key_file.init(tmp_path / "id" / "keys.json", "EdDSA", 0)
    public = run("keys", "public", "--keys", str(tmp_path / "id" / "keys.json"))
    trusted = tmp_path / "id" / "public.json"
    trusted.write_text(public.out)
    run("keys", "init")
    environ = {
        "TRISHULA_AUTH_TRUSTED": str(trusted),
        "TRISHULA_AUTH_TRUSTED_ISSUER": "https://id.example",
    }
    listed = run("keys", "list", "--json", **environ)
    assert [(e["use"], e["issuer"]) for e in listed.json] == [
        ("signs", "trishula"),
        ("checks", "https://id.example"),
    ]


def test_hubs_with_public_halves_check_and_make_none(run: Run, data: Path, tmp_path: Path) -> None:
    run("keys", "init", "--alg", "EdDSA")
    token = (run("token", "create", "dc")).out.strip()
    public = tmp_path / "hub-2" / "keys.json"
    public.parent.mkdir(0o700)
    public.write_text((run("keys", "public")).out)
    public.chmod(0o600)
    assert checker(public.parent).identify(token).subject == "dc"
    refused = run("token", "create", "dc", "--keys", str(public))
    assert refused.code == 1
    assert "has public halves only" in refused.err


def test_tokens_are_listed_and_revoked(run: Run, data: Path) -> None:
    run("keys", "init")
    assert (run("token", "list")).out == "no tokens\n"
    tokens = [(run("token", "create", each)).out.strip() for each in ("dc", "dc", "agni")]
    ids = [checker(data).identify(each).token_id for each in tokens]
    ledger = key_file.ledger_of(data / "keys.json")
    ledger.add(Issued("old", "dc", "default", "agent", 0, 1, "k1"))
    revoked = run("token", "revoke", ids[0])
    assert (revoked.code, revoked.out) == (0, f"revoked token {ids[0]} in default\n")
    listed = run("token", "list", "--json")
    assert [(e["agent"], e["id"], e["state"]) for e in listed.json_lines] == [
        ("dc", ids[0], "revoked"),
        ("dc", ids[1], "valid"),
        ("agni", ids[2], "valid"),
    ]
    assert listed.json_lines[0]["revoked"] > listed.json_lines[0]["made"]
    revoked = run("token", "revoke", "--agent", "dc")
    assert revoked.out == "revoked all tokens of dc until now in default\n"
    newer = run("token", "create", "dc")
    table = run("token", "list", "--agent", "dc", "--all")
    assert [line.split()[-4] for line in table.out.splitlines()] == [
        *("STATE", "revoked", "revoked", "expired", "valid"),
    ]
    for token in [*tokens, newer.out.strip()]:
        assert token not in listed.out + table.out + table.err


def test_what_was_made_elsewhere_is_revoked_where_one_says(run: Run, data: Path) -> None:
    run("keys", "init")
    done = run("token", "revoke", "theirs", "--namespace", "other")
    assert done.out == "revoked token theirs in other\n"
    done = run("token", "revoke", "--agent", "dc", "--namespace", "other")
    assert done.out == "revoked all tokens of dc until now in other\n"
