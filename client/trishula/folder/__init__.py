"""The shared folder: how agents reach one another while no hub answers (docs/folder.md).

``directory.py`` and ``layout.py`` are the folder as it lies on the disk, ``spool.py`` is what an
agent finds in it, ``post.py`` what it writes there; these block, and run in threads. ``watch.py``
hears of changes, ``places.py`` knows who has a place. ``reading.py``, ``writing.py`` and
``handover.py`` join them to the agent's core, and ``link.py`` decides which way is in use. The
formats are ``trishula_protocol``'s.
"""
