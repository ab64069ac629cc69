"""Alerts as messages: what of ``deploy/prometheus/alerts.yml`` a hub knows itself, told to an agent
or a group of the operator's choice.

``sample.py`` is what is looked at, ``rules.py`` what is alarming about it, ``watch.py`` when that
is told; ``told.py`` remembers it over restarts, and ``notifier.py`` does it all.
"""
