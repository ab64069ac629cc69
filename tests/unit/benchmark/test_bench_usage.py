"""``broker bench`` with a command line that is wrong: nothing is connected to."""

from __future__ import annotations

import pytest

from trishula_broker.cli import main


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--rate fast", "--rate: 'fast' is no rate"),
        ("--rate 0", "--rate: '0' is no rate"),
        ("--rate nan", "--rate: 'nan' is no rate"),
        ("--duration 1y", "'--duration': '1y' is no time: such as 500ms, 60s, 5m or 1h"),
        ("--priority-mix 7:1", "--priority-mix: '7' is no priority"),
        ("--connections 0", "'--connections': 0 is not in the range"),
        ("--min-success 101", "'--min-success': 101.0 is not in the range"),
        ("--plot latency.gif", "--plot: latency.gif: a name that ends in .png, .svg, .pdf"),
        ("--plot /nowhere/latency.png", "there is no directory /nowhere"),
        ("--node http://127.0.0.1/", "--node: 'http://127.0.0.1/' must begin with ws://"),
        ("--url http://127.0.0.1/", "--url: 'http://127.0.0.1/' must begin with ws://"),
        ("--as dc --fan-out 3", "--fan-out needs several receivers, and --as, or a token, is one"),
        ("--as dc --keys keys.json", "--keys makes agents for the run; leave --as and the token"),
        ("--as HUB!", "--as: 'HUB!'"),
    ],
)
def test_wrong_usage_names_the_option_and_the_rule(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    options: str,
    says: str,
) -> None:
    for name in ("TRISHULA_URL", "TRISHULA_TOKEN", "TRISHULA_AGENT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["bench", *options.split()], prog_name="broker")
    assert ended.value.code == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert says in printed.err
