"""Several processes on one port: ``broker serve --workers N``. They are nodes of one host, and
know no more of one another than any nodes do, but for the board."""
