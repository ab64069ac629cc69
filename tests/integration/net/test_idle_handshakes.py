"""The measurement of a crowd of idle handshakes, in short: honest agents lose nothing by it."""

from loadtests.idle_handshakes import measure, show


async def test_honest_agents_go_on_while_strangers_crowd_the_door() -> None:
    result = await measure(idle=200, rate=200, seconds=1, room=60)
    assert (result.quiet.messages, result.quiet.late) == (200, 0)
    assert (result.crowded.messages, result.crowded.late) == (200, 0)
    assert result.crowded.comers > 0
    assert result.attempts > 60  # more than there is room for
    assert "p99 ratio" in show(result)
