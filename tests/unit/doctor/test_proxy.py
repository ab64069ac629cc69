"""What is wrong with an nginx before a hub, found in files that differ in one thing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.keys import Keys
from trishula_broker.config import Config, load
from trishula_broker.doctor.finding import Finding
from trishula_broker.doctor.proxy import examine

GOOD = (Path(__file__).parents[3] / "deploy/nginx.conf").read_text()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    keys = Keys(tmp_path / "keys")
    file = tmp_path / "broker.toml"
    file.write_text('[websocket]\nproxies = ["127.0.0.1"]\n')
    flags = {"auth.keys": str(keys.path), "data": str(tmp_path / "data")}
    return load(flags, {}, file, tmp_path).config


def found(tmp_path: Path, config: Config, text: str) -> list[Finding]:
    signed = Authority(tmp_path / "tls").sign()
    file = tmp_path / "trishula.conf"
    text = text.replace("/etc/nginx/tls/hub.crt", str(signed.cert))
    file.write_text(text)
    now = time.time() - 300 * 24 * 3600  # the tests' certificates live for a day
    return examine(file, config, now)


def test_the_file_of_the_project_is_well(tmp_path: Path, config: Config) -> None:
    assert [(each.check, each.level) for each in found(tmp_path, config, GOOD)] == [
        ("nginx", "ok"),
        ("certificate", "ok"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "level", "says", "todo"),
    [
        ("proxy_http_version 1.1;", "", "bad", "HTTP/1.0", "proxy_http_version 1.1;"),
        ("proxy_set_header Upgrade ", "# ", "bad", "Upgrade is not", "$http_upgrade"),
        ("proxy_set_header Connection ", "# ", "bad", "Connection is not", "map"),
        ("proxy_set_header X-Forwarded-For ", "# ", "warning", "X-Forwarded-For", "$remote_addr"),
        (
            "X-Forwarded-For   $remote_addr",
            "X-Forwarded-For $proxy_add_x_forwarded_for",
            "bad",
            "what a client says of itself",
            "$remote_addr",
        ),
        ("$http_host;      #", "$host; #", "warning", "Host is not", "$http_host"),
        ("proxy_read_timeout 150s;", "", "bad", "proxy_read_timeout is 60s", "150s"),
        ("proxy_read_timeout 150s", "proxy_read_timeout 2m", "bad", "is 2m", "150s"),
        ("proxy_send_timeout 150s;", "", "warning", "proxy_send_timeout is 60s", "150s"),
        ("proxy_connect_timeout 2s;", "", "warning", "proxy_connect_timeout is 60s", "2s"),
        ("proxy_buffering         off;", "", "warning", "buffered", "proxy_buffering off;"),
        ("client_max_body_size    1m;", "client_max_body_size 1k;", "warning", "is 1k", "1048576"),
        (" http_503 ", " ", "warning", "a hub that drains", "http_503"),
        ("listen 443 ssl", "listen 443 ssl http2", "warning", "HTTP/2", "leave http2 out"),
        ("listen 443 ssl", "listen 80; listen 443 ssl", "bad", "listen 80 has no ssl", "ssl"),
        ("TLSv1.2 TLSv1.3", "TLSv1 TLSv1.3", "warning", "has TLSv1", "TLSv1.2"),
        ('"$request_method $uri"', '"$request"', "bad", "has the query", "$request_method $uri"),
        ("trishula.log trishula", "trishula.log", "bad", "combined has the query", "$uri"),
        ("trishula.error.log crit", "trishula.error.log", "warning", "is at error", "crit"),
        (":8765", ":9000", "warning", "nothing in it leads to port 8765", "--port"),
        ("proxy_pass", "# ", "bad", "no location with proxy_pass", "deploy/nginx.conf"),
        ("server {", "server {{", "bad", "it ends before", "nginx -t"),
        ("/etc/nginx/tls/hub.crt", "/no/such", "warning", "/no/such: No such file", "look at it"),
        ("/etc/nginx/tls/hub.crt", "/dev/null", "bad", "no certificate in PEM", "put one there"),
    ],
)
def test_each_thing_that_is_wrong_is_found_and_nothing_else(
    tmp_path: Path, config: Config, old: str, new: str, level: str, says: str, todo: str
) -> None:
    assert old in GOOD
    wrong = [each for each in found(tmp_path, config, GOOD.replace(old, new)) if each.level != "ok"]
    assert len(wrong) == 1, wrong
    assert (wrong[0].level, says in wrong[0].found, todo in wrong[0].todo) == (level, True, True)


def test_what_several_locations_have_is_said_once_with_the_line(
    tmp_path: Path, config: Config
) -> None:
    text = GOOD.replace("proxy_http_version 1.1;", "")
    (wrong,) = [each for each in found(tmp_path, config, text) if each.level != "ok"]
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "location / {" in each)
    assert f"(trishula.conf:{line} and 3 more)" in wrong.found


def test_a_hub_that_takes_nobody_through_a_proxy_is_told(tmp_path: Path) -> None:
    without_keys = load({"data": str(tmp_path)}, {}, None, tmp_path).config
    wrong = [each for each in found(tmp_path, without_keys, GOOD) if each.level != "ok"]
    assert [(each.level, each.todo) for each in wrong] == [
        ("bad", f"broker keys init --keys {tmp_path}/keys.json")
    ]
    with_keys = load({"auth.keys": "keys.json", "data": str(tmp_path)}, {}, None, tmp_path).config
    wrong = [each for each in found(tmp_path, with_keys, GOOD) if each.level != "ok"]
    assert [(each.level, "proxies = [" in each.todo) for each in wrong] == [("warning", True)]
