"""Whether an nginx configuration does what a hub behind it needs (docs/deploy-nginx.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from cryptography.x509 import load_pem_x509_certificate

from trishula_broker.config import Config
from trishula_broker.doctor.credentials import expiry
from trishula_broker.doctor.finding import Finding, Level
from trishula_broker.doctor.nginx import Directive, NginxError, read, seconds, size
from trishula_protocol import limits

LONGEST_SILENCE_S: Final = limits.HEARTBEAT_MAX_MS * limits.HEARTBEATS_MISSED / 1000
"""After which a hub gives an agent up: a proxy must not do so before."""
CONNECT_S: Final = 4.0
"""In which the SDK leaves a hub that does not answer."""
DEFAULT_S: Final = "60s"
"""nginx's own, of all three timeouts."""
TOKEN_VARIABLES: Final = re.compile(
    r"\$\{?(request|request_uri|args|query_string|arg_token|http_authorization|http_referer)\b"
)
"""What holds a browser's ``?token=``, or a token itself."""
QUIET: Final = frozenset({"crit", "alert", "emerg"})
OLD_TLS: Final = frozenset({"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"})

Rule = Callable[[Directive, Config], Iterator[tuple[Level, str, str]]]


def examine(file: Path, config: Config, now_s: float) -> list[Finding]:
    """What there is to say of it, one finding for each thing, however many locations have it."""
    try:
        top = read(file)
    except NginxError as error:
        return [Finding("nginx", "bad", str(error), "nginx -t says more")]
    places = [each for each in top.all("location") if each.own("proxy_pass")]
    if not places:
        what = f"{file} has no location with proxy_pass"
        return [Finding("nginx", "bad", what, "begin with deploy/nginx.conf")]
    said: dict[tuple[Level, str, str], list[str]] = {}
    of_a_place: tuple[Rule, ...] = (_upgrade, _headers, _timeouts, _passing_on)
    of_a_server: tuple[Rule, ...] = (_tls, _logs)
    for place in places:
        for rule in of_a_place:
            for told in rule(place, config):
                said.setdefault(told, []).append(place.where)
    servers = {id(each): each for each in map(_server, places) if each is not None}
    for server in servers.values():
        for rule in of_a_server:
            for told in rule(server, config):
                said.setdefault(told, []).append(server.where)
    for told in _hub(top, config):
        said.setdefault(told, []).append(file.name)
    found = [
        Finding("nginx", level, f"{what} ({_where(where)})", todo)
        for (level, what, todo), where in said.items()
    ]
    if not found:
        count = f"{len(places)} location{'s' * (len(places) != 1)}"
        found = [Finding("nginx", "ok", f"{file}: {count} pass on what a hub needs")]
    certificates = {
        each.args[0]: each for server in servers.values() for each in _certificates(server)
    }
    return found + [_certificate(file, name, now_s) for name in certificates if "$" not in name]


def _where(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"


def _server(place: Directive) -> Directive | None:
    block = place.above
    while block is not None and block.name != "server":
        block = block.above
    return block


def _headers_of(place: Directive) -> dict[str, str]:
    return {
        each.args[0].lower(): each.args[1]
        for each in place.inherited("proxy_set_header")
        if len(each.args) == 2
    }


def _upgrade(place: Directive, config: Config) -> Iterator[tuple[Level, str, str]]:
    if place.value("proxy_http_version") != "1.1":
        yield "bad", "HTTP/1.0 to the hub has no WebSocket", "proxy_http_version 1.1;"
    headers = _headers_of(place)
    if headers.get("upgrade", "") != "$http_upgrade":
        todo = "proxy_set_header Upgrade $http_upgrade;"
        yield "bad", "Upgrade is not passed on: no WebSocket is upgraded", todo
    if not headers.get("connection"):
        todo = 'proxy_set_header Connection "upgrade"; or the map of deploy/nginx.conf'
        yield "bad", "Connection is not passed on: no WebSocket is upgraded", todo


def _headers(place: Directive, config: Config) -> Iterator[tuple[Level, str, str]]:
    headers = _headers_of(place)
    peer = headers.get("x-forwarded-for", "")
    todo = "proxy_set_header X-Forwarded-For $remote_addr;"
    if not peer:
        yield "warning", "X-Forwarded-For is not set: hubs take all peers for this proxy", todo
    elif "$proxy_add_x_forwarded_for" in peer or "$http_x_forwarded_for" in peer:
        yield "bad", "X-Forwarded-For has what a client says of itself", todo
    if headers.get("host", "") != "$http_host":
        what = "Host is not the client's, with its port: hubs compare a page's Origin to it"
        yield "warning", what, "proxy_set_header Host $http_host;"


def _timeouts(place: Directive, config: Config) -> Iterator[tuple[Level, str, str]]:
    waits: tuple[tuple[str, Level], ...] = (
        ("proxy_read_timeout", "bad"),
        ("proxy_send_timeout", "warning"),
    )
    for name, level in waits:
        text = place.value(name) or DEFAULT_S
        found = seconds(text)
        if found is not None and found <= LONGEST_SILENCE_S:
            what = f"{name} is {text}: it cuts agents off before two heartbeats of 60 s are missed"
            yield level, what, f"{name} 150s;"
    text = place.value("proxy_connect_timeout") or DEFAULT_S
    found = seconds(text)
    if found is not None and found >= CONNECT_S:
        what = f"proxy_connect_timeout is {text}: agents leave a silent hub after {CONNECT_S:g} s"
        yield "warning", what, "proxy_connect_timeout 2s;"


def _passing_on(place: Directive, config: Config) -> Iterator[tuple[Level, str, str]]:
    if place.value("proxy_buffering") != "off":
        what = "answers are buffered: the live stream of the console comes late"
        yield "warning", what, "proxy_buffering off;"
    text = place.value("client_max_body_size") or "1m"
    found, wanted = size(text), config.websocket.http_body_bytes
    if found and found < wanted:
        what = f"client_max_body_size is {text}: hubs take HTTP bodies of {wanted} bytes"
        yield "warning", what, f"client_max_body_size {wanted};"
    again = place.inherited("proxy_next_upstream")
    if "http_503" not in (again[-1].args if again else ()):
        what = "a hub that drains (503) is not passed by for the next one"
        yield "warning", what, "proxy_next_upstream error timeout http_502 http_503 http_504;"


def _tls(server: Directive, config: Config) -> Iterator[tuple[Level, str, str]]:
    listens = server.own("listen")
    words = [word for each in listens for word in each.args]
    if "http2" in words or server.value("http2") == "on":
        what = "HTTP/2 is on: nginx upgrades to WebSocket from HTTP/1.1 only"
        yield "warning", what, "leave http2 out of listen"
    open_ = [
        each
        for each in listens
        if each.args and "ssl" not in each.args and not _is_local(each.args[0])
    ]
    if open_ or not listens:
        where = open_[0].args[0] if open_ else "80"
        yield "bad", f"listen {where} has no ssl: tokens travel in the clear", "listen … ssl;"
    protocols = server.inherited("ssl_protocols")
    old = OLD_TLS & set(protocols[-1].args if protocols else ())
    if old:
        what = f"ssl_protocols has {', '.join(sorted(old))}"
        yield "warning", what, "ssl_protocols TLSv1.2 TLSv1.3;"


def _is_local(address: str) -> bool:
    return address.startswith(("127.", "localhost", "[::1]", "unix:"))


def _logs(server: Directive, config: Config) -> Iterator[tuple[Level, str, str]]:
    top = server
    while top.above is not None:
        top = top.above
    formats = {each.args[0]: " ".join(each.args[1:]) for each in top.all("log_format") if each.args}
    for log in [each.args for each in server.inherited("access_log")] or [()]:
        if log[:1] == ("off",):
            continue
        name = log[1] if len(log) > 1 else "combined"
        text = formats.get(name, "$request $http_referer" if name == "combined" else "")
        if TOKEN_VARIABLES.search(text):
            what = f"the access log's format {name} has the query: tokens of browsers"
            yield "bad", what, "log $request_method $uri, as the format of deploy/nginx.conf does"
    errors = server.inherited("error_log")
    level = errors[-1].args[1] if errors and len(errors[-1].args) > 1 else "error"
    if level not in QUIET:
        what = f"the error log is at {level}: nginx writes whole requests there, and so tokens"
        yield "warning", what, "error_log … crit;"


def _hub(top: Directive, config: Config) -> Iterator[tuple[Level, str, str]]:
    ports = {
        text.rpartition(":")[2]
        for each in (*top.all("server"), *top.all("proxy_pass"))
        if each.args and not each.block
        for text in (each.args[0].rstrip("/"),)
    }
    if config.port and str(config.port) not in ports:
        what = f"nothing in it leads to port {config.port}, this hub's"
        yield "warning", what, "name the hub under upstream, or look with the hub's --port"
    if not config.auth.keys and not config.key_file.exists():
        what = "the hub has no keys, and takes nobody through a proxy"
        yield "bad", what, f"broker keys init --keys {config.key_file}"
    elif not config.websocket.proxies:
        what = "the hub is not told of this proxy, and takes all peers for one"
        yield "warning", what, 'websocket.proxies = ["its address, as the hub sees it"]'


def _certificates(server: Directive) -> list[Directive]:
    listens = [word for each in server.own("listen") for word in each.args]
    return server.inherited("ssl_certificate") if "ssl" in listens else []


def _certificate(file: Path, name: str, now_s: float) -> Finding:
    path = file.parent / name  # an absolute name stays what it is
    try:
        ends = load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except OSError as error:
        what = f"{path}: {error.strerror}"
        return Finding("certificate", "warning", what, "look at it as a user who may read it")
    except ValueError:
        return Finding("certificate", "bad", f"{path} is no certificate in PEM", "put one there")
    return expiry(str(path), ends, now_s)
