"""How far numbers go ahead when a backup is put back.

What the store gave out after the backup's moment is forgotten by it, but not by others: an agent
may still say that it is done with a seq, a hub that was frozen may still hold a session's epoch,
an archive has entries of the trail. Were the same numbers given again, they would be taken for
what they were. So each counter goes on far behind any that can have been used meanwhile.
"""

from __future__ import annotations

from typing import Final

SEQS: Final = 100_000_000_000
"""23 days of 50 000 messages a second; below 2^48 there is room for 2 800 restores."""
EPOCHS: Final = 4_000_000_000
"""Sessions, and terms of the lease; doubles are exact for two million restores."""
ENTRIES: Final = 4_000_000_000
"""23 days of 2 000 commits a second; below 2^40 there is room for 274 restores. Whole blocks of
the archive (1 000), so that nodes compare theirs from the first one on."""
