"""Four layers of configuration, and errors that say what is wrong and where it came from."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trishula_broker.cli import main
from trishula_broker.cli.config import to_toml
from trishula_broker.config import ConfigError, Loaded, load

SAMPLE = Path(__file__).parents[2] / "deploy" / "broker.toml"


class Layers:
    """Configurations from flags, an environment and a file's text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        flags: dict[str, Any] | None = None,
        environ: dict[str, str] | None = None,
        toml: str | None = None,
    ) -> Loaded:
        file = None
        if toml is not None:
            file = self.folder / "broker.toml"
            file.write_text(toml)
        return load(flags or {}, environ or {}, file, self.folder)


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def test_the_defaults_need_nothing(layers: Layers) -> None:
    loaded = layers()
    assert loaded.config.port == 8765
    assert loaded.config.data == str(layers.folder / ".local/share/trishula")
    assert loaded.config.node
    assert {value.origin for value in loaded.values.values()} == {"default"}


def test_data_follows_the_xdg_directory(layers: Layers) -> None:
    assert layers(environ={"XDG_DATA_HOME": "/x"}).config.data == "/x/trishula"
    assert layers(environ={"XDG_DATA_HOME": "relative"}).config.data.startswith(str(layers.folder))


def test_flags_win_over_variables_over_the_file_over_defaults(layers: Layers) -> None:
    toml = 'port = 1\nhost = "file"\nnode = "file"\n[log]\nlevel = "debug"\n'
    environ = {"TRISHULA_PORT": "2", "TRISHULA_HOST": "variable"}
    loaded = layers({"port": 3, "host": None, "node": None}, environ, toml)
    config = loaded.config
    assert (config.port, config.host, config.node, config.log.level, config.role) == (
        3,
        "variable",
        "file",
        "debug",
        "primary",
    )
    file = str(layers.folder / "broker.toml")
    origins = {path: value.origin for path, value in loaded.values.items()}
    assert origins["port"] == "--port"
    assert origins["host"] == "TRISHULA_HOST"
    assert origins["node"] == file
    assert origins["log.level"] == file
    assert origins["role"] == "default"


def test_variables_are_text_and_lists_are_separated_by_commas(layers: Layers) -> None:
    environ = {
        "TRISHULA_WEBSOCKET_COMPRESSION": "false",
        "TRISHULA_WEBSOCKET_ORIGINS": "https://a.example, https://b.example",
        "TRISHULA_WEBSOCKET_CLOSE_S": "2.5",
    }
    websocket = layers(environ=environ).config.websocket
    assert websocket.compression is False
    assert websocket.origins == ("https://a.example", "https://b.example")
    assert websocket.close_s == 2.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"toml": "prot = 1"}, "prot: no such key; did you mean port? ({file})"),
        (
            {"toml": "[websocket]\nframe_byte = 1"},
            "websocket.frame_byte: no such key; did you mean websocket.frame_bytes? ({file})",
        ),
        ({"toml": "websocket = 1"}, "websocket: must be a table ({file})"),
        ({"toml": 'port = "1"'}, "port: must be a whole number, not text ({file})"),
        ({"toml": "port = 65536"}, "port: must be a whole number <= 65535 ({file})"),
        ({"toml": 'role = "boss"'}, "role: must be primary or failover, not 'boss' ({file})"),
        (
            {"toml": 'node = "A B"'},
            "node: must be 1-64 characters of a-z 0-9 _ - and single dots, "
            "starting with a letter or digit and not ending in a dot ({file})",
        ),
        (
            {"toml": '[websocket]\nproxies = ["nginx"]'},
            "websocket.proxies: must be an IP address ({file})",
        ),
        ({"toml": "[tls]\ncert = 1"}, "tls.cert: must be text, not a whole number ({file})"),
        (
            {"toml": "[folder]\nagents = 1"},
            "folder.agents: must be a list, not a whole number ({file})",
        ),
        (
            {"environ": {"TRISHULA_PORT": "many"}},
            "port: must be a whole number, not text (TRISHULA_PORT)",
        ),
        ({"flags": {"port": -1}}, "port: must be a whole number >= 0 (--port)"),
        (
            {"environ": {"TRISHULA_WEBSOCKET_WRITE_LIMIT_BYTES": "2048"}},
            "websocket.write_limit_bytes: must be more than websocket.write_pause_bytes, "
            "or slow readers never pause (TRISHULA_WEBSOCKET_WRITE_LIMIT_BYTES)",
        ),
    ],
)
def test_an_error_names_the_key_the_rule_and_the_origin(
    layers: Layers, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        layers(**given)
    assert str(error.value) == message.format(file=layers.folder / "broker.toml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("leeway_s = 61", "auth.leeway_s: must be a number <= 60.0 ({file})"),
        ('issuer = ""', "auth.issuer: must be text of length >= 1 ({file})"),
        (
            'trusted = "id.json"',
            "auth.trusted_issuer: must be given with auth.trusted: whose tokens, and its keys "
            "({file})",
        ),
        (
            'trusted_issuer = "https://id.example"',
            "auth.trusted: must be given with auth.trusted_issuer: whose tokens, and its keys "
            "({file})",
        ),
    ],
)
def test_what_is_said_of_tokens_is_checked(layers: Layers, given: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        layers(toml=f"[auth]\n{given}")
    assert str(error.value) == message.format(file=layers.folder / "broker.toml")


@pytest.mark.parametrize("toml", ["port = ", "port = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_refused(layers: Layers, toml: str) -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        layers(toml=toml)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load({}, {}, tmp_path / "none.toml", tmp_path)


def test_unknown_variables_are_warned_of_but_not_those_of_the_sdk(layers: Layers) -> None:
    environ = {"TRISHULA_PROT": "1", "TRISHULA_TOKEN": "s3cret", "TRISHULA_URL": "ws://x"}
    assert layers(environ=environ).warnings == (
        "TRISHULA_PROT: no such key; did you mean TRISHULA_PORT? (environment)",
    )


def test_what_is_printed_is_a_file_that_means_the_same(layers: Layers) -> None:
    loaded = layers({"port": 1}, {"TRISHULA_WEBSOCKET_ORIGINS": "https://a.example"}, 'node = "a"')
    text = to_toml(loaded.values)
    assert "# TRISHULA_WEBSOCKET_ORIGINS" in text
    again = layers(toml=text)
    assert again.config == loaded.config


def test_the_sample_holds_every_key_with_its_default(tmp_path: Path) -> None:
    sample = tomllib.loads(SAMPLE.read_text())
    loaded = load({}, {}, SAMPLE, tmp_path)
    given = {path for path, value in loaded.values.items() if value.origin != "default"}
    # Those that differ from machine to machine are comments.
    assert set(loaded.values) - given == {"data", "node"}
    assert sample["port"] == 8765
    defaults = load({}, {}, None, tmp_path)
    assert loaded.config == defaults.config


def test_the_command_prints_values_with_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRISHULA_ROLE", "failover")
    result = CliRunner().invoke(main, ["config", "--json", "--port", "9"])
    assert result.exit_code == 0
    body = json.loads(result.stdout)
    assert body["port"] == {"value": 9, "origin": "--port"}
    assert body["role"] == {"value": "failover", "origin": "TRISHULA_ROLE"}


@pytest.mark.parametrize("command", ["serve", "config"])
@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--role", "boss"], "Error: role: must be primary or failover, not 'boss' (--role)\n"),
        (["--port", "70000"], "Error: port: must be a whole number <= 65535 (--port)\n"),
        (["--port", "x"], "Error: Invalid value for '--port': 'x' is not a valid integer.\n"),
        (["--config", "/nowhere"], "Error: --config: No such file or directory (/nowhere)\n"),
    ],
)
def test_a_bad_value_ends_the_command_with_2_and_a_line_that_names_it(
    command: str, args: list[str], line: str
) -> None:
    result = CliRunner().invoke(main, [command, *args])
    assert result.exit_code == 2
    assert result.stderr.endswith(line)


def test_workers_need_a_store_that_is_for_several_processes(layers: Layers) -> None:
    with pytest.raises(ConfigError) as error:
        layers({"workers": 2})
    assert str(error.value) == (
        "workers: a SQLite store is for one process: name a Redis that they share, with --redis "
        "URL or redis.url, or leave it at 1 (--workers)"
    )
    assert layers({"workers": 1}).config.workers == 1
    assert layers({"workers": 2, "redis.url": "redis://db:6379/0"}).config.workers == 2


@pytest.mark.parametrize(("workers", "longest"), [(9, 62), (10, 61)])
def test_the_names_of_workers_fit(layers: Layers, workers: int, longest: int) -> None:
    given = {"workers": workers, "redis.url": "redis://db:6379/0"}
    assert layers(given | {"node": "n" * longest}).config.node
    with pytest.raises(ConfigError, match=f"^node: at most {longest} characters"):
        layers(given | {"node": "n" * (longest + 1)})


def test_a_failover_hub_says_what_it_does_not_share(layers: Layers) -> None:
    (warning,) = layers(flags={"role": "failover"}).warnings
    assert warning.startswith("role: this hub keeps its mail in a SQLite store of its own: ")
    assert warning.endswith(" (--role)")
    result = CliRunner().invoke(main, ["config", "--role", "failover"])
    assert result.stderr == f"warning: {warning}\n"
    assert layers(flags={"role": "primary"}).warnings == ()
    shared = {"role": "failover", "redis.url": "redis://localhost"}
    assert layers(flags=shared).warnings == ()


def test_redis_keeps_the_log_for_an_hour_unless_told_otherwise(layers: Layers) -> None:
    shared = {"redis.url": "redis://localhost"}
    kept = layers(flags=shared).config.retention
    assert (kept.max_age_s, kept.max_bytes) == (3600, 512 << 20)
    kept = layers(flags=shared, toml="[retention]\nmax_age_s = 60").config.retention
    assert (kept.max_age_s, kept.max_bytes) == (60, 512 << 20)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch, form: list[str]) -> None:
    monkeypatch.setenv("TRISHULA_REDIS_PASSWORD", "s3cret")
    monkeypatch.setenv("TRISHULA_REDIS_URL", "redis://:t0psecret@localhost")
    result = CliRunner().invoke(main, ["config", *form])
    assert result.exit_code == 0
    assert "s3cret" not in result.stdout
    assert "t0psecret" not in result.stdout
    assert "TRISHULA_REDIS_PASSWORD" in result.stdout


def test_a_password_on_the_command_line_is_refused_and_not_repeated(layers: Layers) -> None:
    url = "redis://me:t0psecret@localhost/0"
    with pytest.raises(ConfigError, match="TRISHULA_REDIS_PASSWORD") as found:
        layers({"redis.url": url})
    assert "t0psecret" not in str(found.value)
    assert layers(environ={"TRISHULA_REDIS_URL": url}).config.redis.url == url
    assert layers({"redis.url": "redis://me@localhost/0"}).config.redis.url


@pytest.mark.parametrize("given", ["tls.cert", "tls.key"])
def test_a_certificate_comes_with_its_key(layers: Layers, given: str) -> None:
    with pytest.raises(ConfigError, match=r"^tls\.(cert|key): must be given with tls\."):
        layers({given: "x.pem"})


@pytest.mark.parametrize("to", ["broadcast", "@work", "hub", "No One", "#"])
def test_alerts_go_to_an_agent_or_a_group(layers: Layers, to: str) -> None:
    with pytest.raises(ConfigError, match=r"^alerts\.to: must be an agent, such as ops, or a"):
        layers(environ={"TRISHULA_ALERTS_TO": to})
    for good in ("", "ops", "#ops"):
        assert layers(environ={"TRISHULA_ALERTS_TO": good}).config.alerts.to == good
