"""Whatever copying tools do to an inbox, each message is found once (docs/protocol.md §8)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trishula.folder.layout import Layout
from trishula.folder.post import Post
from trishula.folder.spool import Spool
from trishula.inbox import Key
from trishula_protocol.envelope import Envelope
from trishula_protocol.folder_file import file_name, pack

SENDERS: Final = ("dc", "vayu")
messages = st.tuples(st.sampled_from(SENDERS), st.integers(1, 4))
stamps = st.integers(0, 3)


class CopiedInbox(RuleBasedStateMachine):
    """A message is in the application's hands, or done; the spool finds it in neither case."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.layout = Layout(self.root)
        self.layout.make("agni")
        self.spool = Spool(self.layout, "agni", None)
        self.spool.open()
        self.held: set[Key] = set()
        self.done: set[Key] = set()
        self.whole: set[Key] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def data(self, key: Key) -> bytes:
        return pack(Envelope("STATUS", id=key[1], sender=key[0], to="agni", payload=key[1]))

    def put(self, message: tuple[str, int], stamp: int, data: bytes, name: str = "") -> None:
        inbox = self.layout.path("agni", "inbox")
        name = name or file_name(stamp, message[0], f"m{message[1]}")
        (inbox / ".part").write_bytes(data)
        (inbox / ".part").rename(inbox / name)

    @rule(message=messages, stamp=stamps)
    def arrive(self, message: tuple[str, int], stamp: int) -> None:
        """For the first time, once more, late, or under another name."""
        key = (message[0], f"m{message[1]}")
        self.put(message, stamp, self.data(key))
        self.whole.add(key)

    @rule(message=messages)
    def arrive_as_a_conflict(self, message: tuple[str, int]) -> None:
        key = (message[0], f"m{message[1]}")
        name = file_name(1, *key).replace(".msg", ".sync-conflict-20260210-000200-ABCDEFG.msg")
        self.put(message, 1, self.data(key), name)
        self.whole.add(key)

    @rule(message=messages, stamp=stamps, part=st.floats(0, 0.99))
    def arrive_in_part(self, message: tuple[str, int], stamp: int, part: float) -> None:
        """A name of its own: a copying tool does not make a whole file a part again."""
        data = self.data((message[0], f"m{message[1]}"))
        name = f"{stamp}-{message[0]}-{message[1]}.part.msg"
        self.put(message, stamp, data[: int(len(data) * part)], name)

    @rule(room=st.integers(1, 5))
    def scan(self, room: int) -> None:
        found = [letter.key for letter in self.spool.scan(room)]
        assert len(found) == len(set(found))
        assert not self.held.intersection(found)
        # Found again under a name that does not tell whose it is: the core knows it is finished.
        again = [(key, None) for key in found if key in self.done]
        self.spool.put_away(again)
        self.held.update(key for key in found if key not in self.done)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        if self.held:
            key = data.draw(st.sampled_from(sorted(self.held)))
            self.spool.put_away([(key, None)])
            self.held.remove(key)
            self.done.add(key)

    @rule()
    def restart(self) -> None:
        """What was not finished is found again; what was is told."""
        self.spool = Spool(self.layout, "agni", None)
        assert set(self.spool.open()) == self.done
        self.held.clear()

    @rule()
    def settle_all(self) -> None:
        """In the end every whole message was found, and nothing but parts is left."""
        for _ in range(50):
            self.scan(5)
            for key in sorted(self.held):
                self.spool.put_away([(key, None)])
            self.done |= self.held
            self.held.clear()
            if not self.spool.more:
                break
        self.scan(5)
        assert self.done == self.whole
        left = [path.name for path in self.layout.path("agni", "inbox").iterdir()]
        assert all(".part" in name for name in left), left

    @invariant()
    def senders_see_no_letter_of_theirs_that_is_done(self) -> None:
        for sender in SENDERS:
            waiting = {(sender, sent.id) for sent in Post(self.layout, sender, None).look().waiting}
            assert not waiting & self.done


TestCopiedInbox = CopiedInbox.TestCase
TestCopiedInbox.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
