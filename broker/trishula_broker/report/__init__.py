"""Figures of an archive: the report of a day or a week, and what would have one go back.

No hub is asked, and none is disturbed. ``source.py`` reads records, ``figures.py`` adds them up
into the ``Report`` of ``shapes.py``; ``text.py`` and ``page.py`` show one, ``triggers.py`` judges
one, or what a hub's metrics say (``scraped.py``).
"""
